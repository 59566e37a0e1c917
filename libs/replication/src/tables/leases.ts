import { type ChainId, CodedError, type ReplicaNodeId } from '#libs/kernel';
import type { Tx } from '#libs/platform';

/** An id that another holder leases by is none of this holder's business: `view.not-found`. One that nobody has is fine. */
export async function requireLeaseOf(tx: Tx, chainId: ChainId, id: string, holder: string): Promise<void> {
  const foreign = await tx.query(`select 1 from chain_lease where tenant_id = $1 and chain_id = $2 and id = $3 and holder <> $4`, [
    tx.tenantId,
    chainId,
    id,
    holder,
  ]);
  if (foreign.length > 0) throw new CodedError('view.not-found', 'not-found', 'there is no such view');
}

/** Leases in force of one holder, without one of them. */
export async function countLeases(
  tx: Tx,
  chainId: ChainId,
  { holder, except }: { readonly holder: string; readonly except: string },
): Promise<number> {
  const { leases } = await tx.one<{ leases: number }>(
    `select count(*)::int as leases from chain_lease
      where tenant_id = $1 and chain_id = $2 and holder = $3 and id <> $4 and (expires_at is null or expires_at > now())`,
    [tx.tenantId, chainId, holder, except],
  );
  return leases;
}

export interface LeaseRow {
  readonly chain_id: ChainId;
  readonly cycle: string;
  readonly holder: string;
  readonly expires_at: Date | null;
}

/** A lease in force, by the id of what it reads for. */
export function findLease(tx: Tx, id: string): Promise<LeaseRow | undefined> {
  return tx.maybeOne<LeaseRow>(
    `select chain_id, cycle, holder, expires_at from chain_lease
      where tenant_id = $1 and id = $2 and (expires_at is null or expires_at > clock_timestamp())`,
    [tx.tenantId, id],
  );
}

/** Whether the last replica node that was told to read for this id is this one. */
export async function isReadBy(tx: Tx, id: string, nodeId: ReplicaNodeId): Promise<boolean> {
  const last = await tx.maybeOne<{ replica_node_id: string }>(
    `select replica_node_id from command
      where tenant_id = $1 and subject_id = $2 and kind in ('replica.start', 'point.export') order by seq desc limit 1`,
    [tx.tenantId, id],
  );
  return last?.replica_node_id === nodeId;
}
