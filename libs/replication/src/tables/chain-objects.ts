import type { ObjectNames } from '#libs/chain';
import { asId, type BranchId, type ChainId } from '#libs/kernel';
import type { PlatformTx, Tx } from '#libs/platform';
import { cycleOf } from './manifest-ref.js';

/* What a chain's promised points stand on in the store, and up to when it is locked there. */

export interface PromisedChain {
  readonly tenant_id: string;
  readonly chain_id: string;
  readonly promised_until: Date;
  readonly locked_until: Date | null;
  readonly objects_locked_at: Date | null;
}

/** Chains with promises that outlast their objects' locks, or with objects that came since the last time; those that wait longest first. */
export function listChainsToLock(tx: PlatformTx, limit: number): Promise<PromisedChain[]> {
  return tx.query<PromisedChain>(
    `select p.tenant_id, p.chain_id, p.promised_until, c.locked_until, c.objects_locked_at
       from (select tenant_id, chain_id, max(immutable_until) as promised_until, max(committed_at) as committed_at
               from recovery_point where immutable_until > now() group by tenant_id, chain_id) p
       left join chain_retention c on c.tenant_id = p.tenant_id and c.chain_id = p.chain_id
      where not exists (select 1 from tenant t where t.id = p.tenant_id and t.state = 'deleted')
        and (c.objects_locked_at is null or c.locked_until is null or p.promised_until > c.locked_until or p.committed_at > c.objects_locked_at
         -- Compaction moves records also where nothing is committed any more.
         or exists (select 1 from chain_segment s where s.tenant_id = p.tenant_id and s.chain_id = p.chain_id and s.role = 'compacted'
                       and s.doomed_at is null and s.created_at > c.objects_locked_at - interval '1 minute'))
      order by c.objects_locked_at nulls first limit $1`,
    [limit],
  );
}

export async function recordLocked(tx: Tx, chainId: string, until: Date, startedAt: Date): Promise<void> {
  await tx.execute(
    `insert into chain_retention (tenant_id, chain_id, locked_until, objects_locked_at) values ($1, $2, $3, $4)
     on conflict (tenant_id, chain_id) do update set locked_until = greatest(chain_retention.locked_until, $3), objects_locked_at = $4`,
    [tx.tenantId, chainId, until, startedAt],
  );
}

/** Commits become visible after the instant that they carry: so much is looked at twice. */
const OVERLAP = `interval '15 minutes'`;

/** Names of the segments that committed cycles or compaction brought and that are not doomed, a page of them after the given hash. */
export async function pageOfSegments(
  tx: Tx,
  names: ObjectNames,
  query: { readonly chainId: string; readonly since: Date | null; readonly after: string; readonly limit: number },
): Promise<{ readonly keys: string[]; readonly last: string | undefined }> {
  const rows = await tx.query<{ sha256: string }>(
    `select s.sha256 from chain_segment s
      where s.tenant_id = $1 and s.chain_id = $2 and s.sha256 > $4 and s.doomed_at is null
        and (exists (select 1 from cycle_segment y
                       join replication_cycle c on c.tenant_id = y.tenant_id and c.id = y.cycle_id
                       join chain_manifest m on m.tenant_id = c.tenant_id and m.cycle = c.cycle
                      where y.tenant_id = s.tenant_id and y.chain_id = s.chain_id and y.sha256 = s.sha256
                        and ($3::timestamptz is null or m.committed_at > $3::timestamptz - ${OVERLAP}))
             or (not exists (select 1 from cycle_segment y where y.tenant_id = s.tenant_id and y.chain_id = s.chain_id and y.sha256 = s.sha256)
                 and ($3::timestamptz is null or s.created_at > $3::timestamptz - ${OVERLAP})))
      order by s.sha256 limit $5`,
    [tx.tenantId, query.chainId, query.since, query.after, query.limit],
  );
  return { keys: rows.map(({ sha256 }) => names.segment(sha256)), last: rows.length < query.limit ? undefined : rows.at(-1)?.sha256 };
}

/** Names of the manifests and their list pages, a page of cycles after the given one. */
export async function pageOfManifests(
  tx: Tx,
  names: ObjectNames,
  query: { readonly chainId: ChainId; readonly since: Date | null; readonly after: string; readonly limit: number },
): Promise<{ readonly keys: string[]; readonly last: string | undefined }> {
  const rows = await tx.query<{ branch_id: string; sequence: number; cycle: string; lists: string[] }>(
    `select m.branch_id, m.sequence, m.cycle,
            array(select l.sha256 from replication_cycle c join cycle_list l on l.tenant_id = c.tenant_id and l.cycle_id = c.id
                   where c.tenant_id = m.tenant_id and c.cycle = m.cycle) as lists
       from chain_manifest m
      where m.tenant_id = $1 and m.chain_id = $2 and m.cycle > $4 and ($3::timestamptz is null or m.committed_at > $3::timestamptz - ${OVERLAP})
      order by m.cycle limit $5`,
    [tx.tenantId, query.chainId, query.since, query.after, query.limit],
  );
  const keys = rows.flatMap(({ branch_id, sequence, cycle, lists }) => [
    names.manifest({ branchId: asId<BranchId>(branch_id), sequence, cycle: cycleOf(cycle) }),
    ...lists.map((sha256) => names.list(sha256)),
  ]);
  return { keys, last: rows.length < query.limit ? undefined : rows.at(-1)?.cycle };
}
