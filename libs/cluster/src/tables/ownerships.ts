import { type FailoverId, newId, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import type { AnyTx, PlatformTx, RowOf } from '#libs/platform';
import { replicaOwnershipTable } from './tables.js';

export type OwnershipRow = RowOf<typeof replicaOwnershipTable>;

/** How long an owner stays one without a word of it. */
export const OWNERSHIP_LEASE_MS = 60_000;

export function findOwner(tx: AnyTx, failoverId: FailoverId): Promise<OwnershipRow | undefined> {
  return tx.maybeOne<OwnershipRow>(
    `select ${replicaOwnershipTable.list} from replica_ownership where failover_id = $1 and released_at is null`,
    [failoverId],
  );
}

export function insertOwnership(
  tx: PlatformTx,
  owner: {
    readonly tenantId: TenantId;
    readonly failoverId: FailoverId;
    readonly replicaNodeId: ReplicaNodeId;
    readonly memoryMiB: number;
  },
): Promise<OwnershipRow> {
  return tx.one<OwnershipRow>(
    `insert into replica_ownership (id, tenant_id, failover_id, replica_node_id, memory_mib, lease_expires_at)
     values ($1, $2, $3, $4, $5, now() + $6 * interval '1 millisecond') returning ${replicaOwnershipTable.list}`,
    [newId(), owner.tenantId, owner.failoverId, owner.replicaNodeId, owner.memoryMiB, OWNERSHIP_LEASE_MS],
  );
}

/** The node says what runs on it: those leases begin anew, and a silence is over. */
export async function renewOwnerships(tx: PlatformTx, replicaNodeId: ReplicaNodeId, failoverIds: readonly string[]): Promise<void> {
  await tx.execute(
    `update replica_ownership set lease_expires_at = now() + $3 * interval '1 millisecond', silent_since = null
      where replica_node_id = $1 and failover_id = any($2::uuid[]) and released_at is null`,
    [replicaNodeId, [...failoverIds], OWNERSHIP_LEASE_MS],
  );
}

export async function releaseOwnership(tx: PlatformTx, failoverId: FailoverId): Promise<void> {
  await tx.execute(`update replica_ownership set released_at = now() where failover_id = $1 and released_at is null`, [failoverId]);
}

/** The owner was revoked: the operator's word that it is gone and nothing of it runs any more. */
export async function isOwnerRevoked(tx: PlatformTx, failoverId: FailoverId): Promise<boolean> {
  const rows = await tx.query(
    `select from replica_ownership o join replica_node_identity i on i.id = o.replica_node_id
      where o.failover_id = $1 and o.released_at is null and i.state = 'revoked'`,
    [failoverId],
  );
  return rows.length > 0;
}

export interface SilentOwner {
  readonly replicaNodeId: ReplicaNodeId;
  readonly fqdn: string;
  readonly failoverIds: readonly FailoverId[];
}

/** Marks the replicas whose owner let its lease end, and names those owners: each silence is told once. */
export function markSilentOwners(tx: PlatformTx): Promise<SilentOwner[]> {
  return tx.query<SilentOwner>(
    `with silent as (
       update replica_ownership set silent_since = now()
        where released_at is null and silent_since is null and lease_expires_at < now() returning replica_node_id, failover_id)
     select i.id as "replicaNodeId", i.fqdn, array_agg(s.failover_id order by s.failover_id)::text[] as "failoverIds"
       from silent s join replica_node_identity i on i.id = s.replica_node_id group by i.id, i.fqdn`,
  );
}
