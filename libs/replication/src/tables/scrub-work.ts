import type { ChainAddress, ScrubResult } from '#libs/chain';
import { asId, type ChainId, type TenantId } from '#libs/kernel';
import type { AnyTx, PlatformTx, Tx } from '#libs/platform';

/** Chains whose turn it is, those that wait longest first: new ones, and those with damage, whose points may have become others. */
export async function listChainsToScrub(
  tx: PlatformTx,
  { chainEveryMs, damagedEveryMs }: { readonly chainEveryMs: number; readonly damagedEveryMs: number },
  limit: number,
): Promise<ChainAddress[]> {
  const rows = await tx.query<{ tenant_id: string; id: string }>(
    `select c.tenant_id, c.id from replica_chain c
       left join chain_scrub s on s.tenant_id = c.tenant_id and s.chain_id = c.id
      where ((s.due_at is null and c.created_at <= now() - $1 * interval '1 millisecond') or s.due_at <= now()
         or (s.scrubbed_at <= now() - $2 * interval '1 millisecond'
             and exists (select 1 from chain_damage d where d.tenant_id = c.tenant_id and d.chain_id = c.id)))
        and not exists (select 1 from tenant t where t.id = c.tenant_id and t.state = 'deleted')
      order by coalesce(s.due_at, c.created_at), c.id limit $3`,
    [chainEveryMs, damagedEveryMs, limit],
  );
  return rows.map((row) => ({ tenantId: asId<TenantId>(row.tenant_id), chainId: asId<ChainId>(row.id) }));
}

/** Sets the next turn: at once where more is due, else when the oldest object comes due, and a turn's interval away at most. */
export async function recordScrubbed(
  tx: Tx,
  chainId: ChainId,
  { verifiedObjects, verifiedBytes, isDone }: Pick<ScrubResult, 'verifiedObjects' | 'verifiedBytes' | 'isDone'>,
  { objectEveryMs, chainEveryMs }: { readonly objectEveryMs: number; readonly chainEveryMs: number },
): Promise<void> {
  await tx.execute(
    `insert into chain_scrub as s (tenant_id, chain_id, scrubbed_at, due_at, verified_objects, verified_bytes)
     values ($1, $2, now(),
       case when $5 then greatest(now() + interval '1 minute', least(now() + $7 * interval '1 millisecond',
         (select min(case when o.verified_at < r.requested_at then now() else o.verified_at + $6 * interval '1 millisecond' end)
            from chain_object o left join chain_scrub r on r.tenant_id = o.tenant_id and r.chain_id = o.chain_id
           where o.tenant_id = $1 and o.chain_id = $2))) else now() end, $3, $4)
     on conflict (tenant_id, chain_id) do update set scrubbed_at = now(), failure_code = null, failure_message = null,
       due_at = excluded.due_at, verified_objects = s.verified_objects + $3,
       verified_bytes = s.verified_bytes + $4`,
    [tx.tenantId, chainId, verifiedObjects, verifiedBytes, isDone, objectEveryMs, chainEveryMs],
  );
}

/** Why a turn broke off; it is tried again after a while. */
export async function recordScrubFailure(
  tx: Tx,
  chainId: ChainId,
  failure: { readonly code: string; readonly message: string },
  retryMs: number,
): Promise<void> {
  await tx.execute(
    `insert into chain_scrub (tenant_id, chain_id, scrubbed_at, due_at, failure_code, failure_message)
     values ($1, $2, now(), now() + $5 * interval '1 millisecond', $3, $4)
     on conflict (tenant_id, chain_id) do update set scrubbed_at = now(), due_at = excluded.due_at,
       failure_code = excluded.failure_code, failure_message = excluded.failure_message`,
    [tx.tenantId, chainId, failure.code, failure.message, retryMs],
  );
}

export interface ScrubStanding {
  readonly relationship_id: string;
  readonly tenant_name: string;
  readonly vm_name: string;
  readonly object_count: number;
  readonly oldest_verified_at: Date | null;
  readonly scrubbed_at: Date | null;
  readonly due_at: Date | null;
  readonly damaged_objects: number;
  readonly verified_bytes: number;
  readonly failure_code: string | null;
}

/** How far the scrub is, for the provider's people; the damaged first, then those that wait longest. */
export function listScrubs(tx: PlatformTx, limit: number): Promise<ScrubStanding[]> {
  return tx.query<ScrubStanding>(
    `select r.id as relationship_id, t.name as tenant_name, v.name as vm_name, o.object_count, o.oldest_verified_at, s.scrubbed_at, s.due_at,
            d.damaged_objects, coalesce(s.verified_bytes, 0)::bigint as verified_bytes, s.failure_code
       from replication_relationship r
       join tenant t on t.id = r.tenant_id
       join virtual_machine v on v.tenant_id = r.tenant_id and v.id = r.vm_id
       left join chain_scrub s on s.tenant_id = r.tenant_id and s.chain_id = r.chain_id
      cross join lateral (select count(*)::int as object_count, min(verified_at) as oldest_verified_at
                            from chain_object o where o.tenant_id = r.tenant_id and o.chain_id = r.chain_id) o
      cross join lateral (select count(*)::int as damaged_objects from chain_damage d where d.tenant_id = r.tenant_id and d.chain_id = r.chain_id) d
      where r.removed_at is null
      order by d.damaged_objects desc, s.scrubbed_at nulls first, r.id limit $1`,
    [limit],
  );
}

/** Everything of the chain of one relationship, or of all, is to be read anew. Says of how many chains. */
export function requestScrub(tx: AnyTx, relationshipId: string | null): Promise<number> {
  return tx.execute(
    `insert into chain_scrub (tenant_id, chain_id, due_at, requested_at)
       select tenant_id, chain_id, now(), now() from replication_relationship where removed_at is null and ($1::uuid is null or id = $1)
     on conflict (tenant_id, chain_id) do update set due_at = now(), requested_at = now()`,
    [relationshipId],
  );
}
