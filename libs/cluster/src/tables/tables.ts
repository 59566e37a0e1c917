import type { FailoverId, ReplicaNodeId, TenantId } from '#libs/kernel';
import { boolean, defineTable, integer, nullable, text, timestamptz, uuid } from '#libs/platform';

export const replicaNodeTable = defineTable('replica_node', {
  id: uuid<ReplicaNodeId>(),
  cpus: integer(),
  memory_mib: integer(),
  memory_free_mib: integer(),
  accelerator: text<'kvm' | 'tcg'>(),
  is_draining: boolean(),
  reported_at: timestamptz(),
});

export const replicaOwnershipTable = defineTable('replica_ownership', {
  id: uuid(),
  tenant_id: uuid<TenantId>(),
  failover_id: uuid<FailoverId>(),
  replica_node_id: uuid<ReplicaNodeId>(),
  memory_mib: integer(),
  lease_expires_at: timestamptz(),
  /** Since when the owner is known to have let its lease end; null while it speaks. */
  silent_since: nullable(timestamptz()),
  placed_at: timestamptz(),
  released_at: nullable(timestamptz()),
});

export const CLUSTER_TABLES = [replicaNodeTable, replicaOwnershipTable] as const;
