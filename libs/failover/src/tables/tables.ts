import type { BootProofKind } from '#libs/contracts/commands';
import type { FailoverState, FailoverType } from '#libs/contracts/common';
import type { BranchId, FailoverId, RecoveryPointId, RelationshipId, ReplicaNodeId, TenantId } from '#libs/kernel';
import { bigint, bytea, defineTable, double, integer, nullable, text, timestamptz, uuid } from '#libs/platform';

export const failoverTable = defineTable('failover', {
  id: uuid<FailoverId>(),
  tenant_id: uuid<TenantId>(),
  relationship_id: uuid<RelationshipId>(),
  type: text<FailoverType>(),
  state: text<FailoverState>(),
  recovery_point_id: uuid<RecoveryPointId>(),
  epoch_incarnation: integer(),
  epoch_counter: bigint(),
  branch_id: nullable(uuid<BranchId>()),
  previous_branch_id: uuid<BranchId>(),
  replica_node_id: nullable(uuid<ReplicaNodeId>()),
  phase: nullable(text<'opening' | 'booting' | 'up' | 'stopped' | 'failed'>()),
  phase_at: nullable(timestamptz()),
  up_at: nullable(timestamptz()),
  boot_ms: nullable(double()),
  boot_proof: nullable(text<BootProofKind>()),
  /** The code of why a running VM is not proven up. */
  boot_doubt: nullable(text()),
  console: text(),
  screenshot: nullable(bytea()),
  failure_code: nullable(text()),
  failure_message: nullable(text()),
  requested_at: timestamptz(),
  stopped_at: nullable(timestamptz()),
  finished_at: nullable(timestamptz()),
});

export const FAILOVER_TABLES = [failoverTable] as const;
