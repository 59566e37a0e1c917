import { asId, type ChainId, type TenantId } from '#libs/kernel';
import type { ChainAddress } from '#libs/chain';
import { CODE_ROLES_UNKNOWN, DAMAGED, LOST_FAILOVER } from './adopt-chain.js';
import type { PlatformTx, Tx } from '#libs/platform';

/* Whose turn a chain is, and what became of it. Nothing's correctness hangs on it: two workers at one chain do work twice and no harm. */

/** Chains that changed since they were last looked after, or were not for long; and that no worker is at. Longest waiting first. */
export async function listDueChains(
  tx: PlatformTx,
  { busyMs, idleMs }: { readonly busyMs: number; readonly idleMs: number },
  limit: number,
): Promise<ChainAddress[]> {
  const rows = await tx.query<{ tenant_id: string; id: string }>(
    `select c.tenant_id, c.id from replica_chain c
       left join chain_upkeep u on u.tenant_id = c.tenant_id and u.chain_id = c.id
       left join chain_retention r on r.tenant_id = c.tenant_id and r.chain_id = c.id
      where (u.worker_until is null or u.worker_until < now())
        -- Who writes a chain looks after it.
        and not exists (select 1 from followed_chain f where f.tenant_id = c.tenant_id and f.chain_id = c.id)
        and not exists (select 1 from tenant t where t.id = c.tenant_id and t.state = 'deleted')
        and (u.maintained_at is null
             or u.maintained_at < now() - $2 * interval '1 millisecond'
             or exists (select 1 from chain_sweep s where s.tenant_id = c.tenant_id and s.chain_id = c.id and s.second_at > u.maintained_at)
             or (u.maintained_at < now() - $1 * interval '1 millisecond'
                 and (r.applied_at > u.maintained_at
                      or exists (select 1 from chain_manifest m
                                  where m.tenant_id = c.tenant_id and m.chain_id = c.id and m.committed_at > u.maintained_at))))
      order by u.maintained_at nulls first, c.id limit $3`,
    [busyMs, idleMs, limit],
  );
  return rows.map((row) => ({ tenantId: asId<TenantId>(row.tenant_id), chainId: asId<ChainId>(row.id) }));
}

/** Takes or keeps the chain's turn; false when another worker has it. */
export async function takeTurn(tx: Tx, chainId: ChainId, worker: string, ttlMs: number): Promise<boolean> {
  const taken = await tx.execute(
    `insert into chain_upkeep (tenant_id, chain_id, worker, worker_until) values ($1, $2, $3, now() + $4 * interval '1 millisecond')
     on conflict (tenant_id, chain_id) do update set worker = excluded.worker, worker_until = excluded.worker_until
      where chain_upkeep.worker = excluded.worker or chain_upkeep.worker_until is null or chain_upkeep.worker_until < now()`,
    [tx.tenantId, chainId, worker, ttlMs],
  );
  return taken > 0;
}

export async function endTurn(
  tx: Tx,
  chainId: ChainId,
  worker: string,
  {
    hasCollected,
    failure,
  }: { readonly hasCollected: boolean; readonly failure: { readonly code: string; readonly message: string } | null },
): Promise<void> {
  await tx.execute(
    `update chain_upkeep
        set worker = null, worker_until = null, maintained_at = now(), failure_code = $4, failure_message = $5,
            collected_at = case when $6 then now() else collected_at end
      where tenant_id = $1 and chain_id = $2 and worker = $3`,
    [tx.tenantId, chainId, worker, failure?.code ?? null, failure?.message ?? null, hasCollected],
  );
}

export async function isCollectionDue(tx: Tx, chainId: ChainId, everyMs: number): Promise<boolean> {
  const rows = await tx.query(
    `select 1 from chain_upkeep where tenant_id = $1 and chain_id = $2 and collected_at > now() - $3 * interval '1 millisecond'
     union all (select 1 from replication_cycle where tenant_id = $1 and chain_id = $2 and failure_code = $4 limit 1)`,
    [tx.tenantId, chainId, everyMs, DAMAGED],
  );
  return rows.length === 0;
}

/**
 * A VM's view is leased without an end: till its failover is over, and no replica node owns it any more. That of a failover which a restored database has
 * not heard of is, until a person has settled where the VM runs.
 */
export async function endLeasesOfStoppedVms(tx: Tx, chainId: ChainId): Promise<number> {
  await tx.execute(
    `delete from chain_lease l
      where tenant_id = $1 and chain_id = $2 and holder = $3
        and not exists (select 1 from replication_relationship r
                         where r.tenant_id = l.tenant_id and r.chain_id = l.chain_id and r.removed_at is null
                           and r.state = 'Error' and r.failure_code = $4)`,
    [tx.tenantId, chainId, LOST_FAILOVER, CODE_ROLES_UNKNOWN],
  );
  return tx.execute(
    `delete from chain_lease l using failover f
      where l.tenant_id = $1 and l.chain_id = $2 and l.expires_at is null and f.tenant_id = l.tenant_id and f.id = l.id
        and f.state in ('Cancelled', 'Failed')
        and not exists (select 1 from replica_ownership o where o.tenant_id = f.tenant_id and o.failover_id = f.id and o.released_at is null)`,
    [tx.tenantId, chainId],
  );
}
