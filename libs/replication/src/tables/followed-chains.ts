import type { ChainAddress, RecoveredChain } from '#libs/chain';
import { asId, type ChainId, type TenantId } from '#libs/kernel';
import type { PlatformTx, Tx } from '#libs/platform';

/** `own`: this installation writes it, or did since it was failed over here. `unknown`: nobody here has heard of it. */
export type Following = 'unknown' | 'own' | 'followed';

export async function followingOf(tx: Tx, chainId: ChainId): Promise<Following> {
  const row = await tx.maybeOne<{ is_followed: boolean }>(
    `select exists (select 1 from followed_chain f where f.tenant_id = c.tenant_id and f.chain_id = c.id) as is_followed
       from replica_chain c where c.tenant_id = $1 and c.id = $2`,
    [tx.tenantId, chainId],
  );
  if (row === undefined) return 'unknown';
  return row.is_followed ? 'followed' : 'own';
}

/**
 * The chain is as its source has it: also which branch is written to, since nobody was made its writer here. The epoch stays of this installation's
 * incarnation, so that whoever is made its writer here shuts the source out.
 */
export async function recordFollowed(tx: Tx, { chainId, branchId, epoch }: RecoveredChain, sourceId: string): Promise<void> {
  await tx.execute(
    `insert into followed_chain (tenant_id, chain_id, source_id) values ($1, $2, $3)
     on conflict (tenant_id, chain_id) do update set source_id = excluded.source_id, adopted_at = now()`,
    [tx.tenantId, chainId, sourceId],
  );
  await tx.execute(
    `update replica_chain set branch_id = coalesce((select id from chain_branch where tenant_id = $1 and id = $3), branch_id),
                              epoch_counter = greatest(epoch_counter, $4)
      where tenant_id = $1 and id = $2`,
    [tx.tenantId, chainId, branchId, epoch.counter],
  );
}

/** Chains that were failed over here: from then on this installation looks after them. */
export async function endFollowing(tx: PlatformTx): Promise<ChainAddress[]> {
  const rows = await tx.query<{ tenant_id: string; chain_id: string }>(
    `select f.tenant_id, f.chain_id from followed_chain f
       join replication_relationship r on r.tenant_id = f.tenant_id and r.chain_id = f.chain_id and r.mode <> 'Primary'`,
  );
  return rows.map((row) => ({ tenantId: asId<TenantId>(row.tenant_id), chainId: asId<ChainId>(row.chain_id) }));
}

/**
 * Chains that this installation looks after itself, with manifests of an incarnation up to this one. A rebuild begins above all incarnations that it finds: so
 * those are not of what was written since.
 */
export async function listOwnUpTo(tx: PlatformTx, incarnation: number): Promise<ChainId[]> {
  const rows = await tx.query<{ id: string }>(
    `select c.id from replica_chain c
      where not exists (select 1 from followed_chain f where f.tenant_id = c.tenant_id and f.chain_id = c.id)
        and exists (select 1 from chain_manifest m where m.tenant_id = c.tenant_id and m.chain_id = c.id and m.epoch_incarnation <= $1)
      order by c.id`,
    [incarnation],
  );
  return rows.map(({ id }) => asId<ChainId>(id));
}

export async function forgetFollowed(tx: Tx, chainId: ChainId): Promise<void> {
  await tx.execute(`delete from followed_chain where tenant_id = $1 and chain_id = $2`, [tx.tenantId, chainId]);
}

/** Whether anything among these names below a chain's prefix is not known yet: manifests, snapshots and keys, by which all else is found. */
export async function isNews(tx: Tx, chainId: ChainId, names: readonly string[]): Promise<boolean> {
  const { is_news: found } = await tx.one<{ is_news: boolean }>(
    `select exists (
       select 1 from unnest($3::text[]) given (object)
        where case left(object, 2)
          when 'm/' then not exists (select 1 from replication_cycle y where y.tenant_id = $1 and y.chain_id = $2 and y.cycle = right(object, 16)
                                                                         and (y.state = 'committed' or y.failure_code is null))
          when 'v/' then substr(object, 3, 10)::bigint >
                           coalesce((select max(sequence) from chain_snapshot where tenant_id = $1 and chain_id = $2), 0)
                         and not exists (select 1 from chain_stray x where x.tenant_id = $1 and x.chain_id = $2 and x.name = object)
          when 'k/' then not exists (select 1 from chain_key k where k.tenant_id = $1 and k.chain_id = $2
                                        and object = 'k/' || lpad(k.generation::text, 5, '0') || '-' || k.kind || '-' || k.recipient)
          else false end) as is_news`,
    [tx.tenantId, chainId, names],
  );
  return found;
}
