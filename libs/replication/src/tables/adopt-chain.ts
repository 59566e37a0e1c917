import { cycleToHex, type LeftOut, type ListEntry, type RecoveredChain, type RecoveredManifest } from '#libs/chain';
import { newId } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { insertManifest } from './manifests.js';
import { refParams } from './manifest-ref.js';

/* Rows of what the store tells of a chain, beside those that are there. Each function inside the caller's transaction; any may be repeated. */

export interface Adopted {
  readonly isNewChain: boolean;
  readonly manifests: number;
  readonly points: number;
  /** Of points that the store's newer snapshot does not keep any more. */
  readonly removedPoints: number;
  /** Of these somebody must decide: they should be there, and are not. */
  readonly damaged: readonly LeftOut[];
}

export interface AdoptOptions {
  readonly incarnation: number;
  /** Takes what is damaged for lost: it no longer keeps collection of this chain from going on. */
  readonly givesUpDamaged: boolean;
}

/** Who writes is not in the store: whoever wrote what was adopted is nobody. */
const NOBODY = '00000000-0000-0000-0000-000000000000';
export const ADOPTED_TAG = 'adopted';
/** The failure of a cycle whose manifest is in the store and cannot count. While there is one, nothing of its chain is collected. */
export const DAMAGED = 'catalogue.damaged';
/** Holds the view of a failover of which only the store tells, until a person has found out about it. */
export const LOST_FAILOVER = 'lost-failover';
export const CODE_ROLES_UNKNOWN = 'catalogue.roles-unknown';

const isHarmless = ({ reason }: LeftOut): boolean => reason === 'superseded' || reason === 'fenced-off';

/**
 * Takes into the database what the store tells of one chain. What the database knows stands, where the store does not know better: manifests only come, a
 * snapshot that is newer than the database's says where everything is and which of the older points are gone.
 */
export async function adoptChain(tx: Tx, chain: RecoveredChain, options: AdoptOptions): Promise<Adopted> {
  const isNewChain = await ensureChain(tx, chain, options);
  const isNewer = await isNewerSnapshot(tx, chain);
  const known = await knownCycles(tx, chain);
  const missing = chain.manifests.filter(({ ref }) => !known.has(ref.cycle));
  for (const recovered of missing) await insertRecovered(tx, chain, recovered);
  await adoptKeys(tx, chain);
  const removedPoints = isNewer ? await adoptSnapshot(tx, chain) : 0;
  // Whatever maintenance is deciding on was read before: points may have come back that it takes for dead.
  await tx.execute(
    `insert into chain_upkeep (tenant_id, chain_id, revision) values ($1, $2, 1)
     on conflict (tenant_id, chain_id) do update set revision = chain_upkeep.revision + 1`,
    [tx.tenantId, chain.chainId],
  );
  await settleStrays(tx, chain, options);
  await adoptRoles(tx, chain, options);
  const damaged = chain.leftOut.filter((each) => !isHarmless(each));
  return { isNewChain, manifests: missing.length, points: missing.filter(({ isPoint }) => isPoint).length, removedPoints, damaged };
}

/** The store tells no tenant's name: until the provider gives it one, its id stands for it. */
export async function ensureTenant(tx: Tx): Promise<void> {
  await tx.execute(`insert into tenant (id, slug, name) values ($1, $2, $3) on conflict do nothing`, [
    tx.tenantId,
    `tenant-${tx.tenantId.slice(-12)}`,
    tx.tenantId,
  ]);
  await tx.execute(
    `insert into storage_location (id, tenant_id, name, is_default)
       select $2, $1, 'default', true where not exists (select 1 from storage_location where tenant_id = $1)`,
    [tx.tenantId, newId()],
  );
}

async function ensureChain(tx: Tx, chain: RecoveredChain, { incarnation }: AdoptOptions): Promise<boolean> {
  const { tenantId, chainId, branches } = chain;
  const branchId = chain.branchId ?? branches[0]?.branchId ?? newId();
  const made = await tx.execute(
    `insert into replica_chain (id, tenant_id, tag, branch_id, epoch_incarnation, epoch_counter) values ($1, $2, $3, $4, $5, $6)
     on conflict (id) do nothing`,
    [chainId, tenantId, chain.relationship?.tag ?? ADOPTED_TAG, branchId, incarnation, chain.epoch.counter],
  );
  await tx.query(`select 1 from replica_chain where tenant_id = $1 and id = $2 for update`, [tenantId, chainId]);
  const frozenBy = new Map(branches.map((branch) => [branch.branchId, branch.frozen]));
  for (const id of new Set(made > 0 ? [branchId, ...frozenBy.keys()] : frozenBy.keys())) {
    await tx.execute(
      `insert into chain_branch (id, tenant_id, chain_id, frozen_branch_id, frozen_sequence, frozen_cycle, frozen_sha256, frozen_path)
       values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing`,
      [id, tenantId, chainId, ...refParams(frozenBy.get(id) ?? null)],
    );
  }
  return made > 0;
}

/**
 * Later than this database's newest, or another one in the place of one of its own: two databases went on from one backup, and by the other's nothing is
 * missing. One from before its own began anew tells less than it knows.
 */
async function isNewerSnapshot(tx: Tx, { chainId, snapshot }: RecoveredChain): Promise<boolean> {
  if (snapshot === null) return false;
  const own = await tx.query<{ sequence: number; sha256: string }>(
    `select sequence, sha256 from chain_snapshot where tenant_id = $1 and chain_id = $2 order by sequence`,
    [tx.tenantId, chainId],
  );
  const inItsPlace = own.find(({ sequence }) => sequence === snapshot.sequence);
  return snapshot.sequence > (own.at(-1)?.sequence ?? 0) || (inItsPlace !== undefined && inItsPlace.sha256 !== snapshot.sha256);
}

async function knownCycles(tx: Tx, { chainId }: RecoveredChain): Promise<ReadonlySet<bigint>> {
  const rows = await tx.query<{ cycle: string }>(`select cycle from chain_manifest where tenant_id = $1 and chain_id = $2`, [
    tx.tenantId,
    chainId,
  ]);
  return new Set(rows.map(({ cycle }) => BigInt(`0x${cycle}`)));
}

/** A cycle as if it had been committed here. One that was under way when the backup was made is this one. */
async function insertRecovered(
  tx: Tx,
  { chainId }: RecoveredChain,
  { ref, manifest, segments, isPoint }: RecoveredManifest,
): Promise<void> {
  const { id } = await tx.one<{ id: string }>(
    `insert into replication_cycle (id, tenant_id, chain_id, branch_id, cycle, sequence, kind, manifest_kind, state, writer_id, epoch_incarnation,
                                    epoch_counter, parent_branch_id, parent_sequence, parent_cycle, parent_sha256, parent_path, lease_expires_at,
                                    manifest_sha256, opened_at, ended_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, 'committed', $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $17, $17)
     on conflict (tenant_id, cycle) do update set state = 'committed', manifest_sha256 = excluded.manifest_sha256, ended_at = excluded.ended_at
     returning id`,
    [
      newId(),
      tx.tenantId,
      chainId,
      ref.branchId,
      cycleToHex(ref.cycle),
      ref.sequence,
      manifest.parent === null ? 'initial' : 'delta',
      manifest.kind,
      NOBODY,
      manifest.epoch.incarnation,
      manifest.epoch.counter,
      ...refParams(manifest.parent),
      manifest.instant,
      ref.sha256,
    ],
  );
  await tx.execute(
    `insert into cycle_list (tenant_id, cycle_id, sha256, entry_count)
       select $1, $2, sha256, entry_count from unnest($3::text[], $4::int[]) list (sha256, entry_count) on conflict do nothing`,
    [tx.tenantId, id, manifest.lists.map(({ sha256 }) => sha256), manifest.lists.map(({ entryCount }) => entryCount)],
  );
  await upsertSegments(tx, chainId, segments, 'listed');
  await tx.execute(
    `insert into cycle_segment (tenant_id, cycle_id, chain_id, sha256) select $1, $2, $3, unnest($4::text[]) on conflict do nothing`,
    [tx.tenantId, id, chainId, segments.map(({ sha256 }) => sha256)],
  );
  const sentBytes = segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const row = await insertManifest(tx, { manifest, sha256: ref.sha256, sentBytes, committedAt: manifest.instant });
  if (!isPoint) await tx.execute(`delete from recovery_point where tenant_id = $1 and id = $2`, [tx.tenantId, row.id]);
}

async function upsertSegments(tx: Tx, chainId: string, segments: readonly ListEntry[], role: 'listed' | 'compacted'): Promise<void> {
  await tx.execute(
    `insert into chain_segment (tenant_id, chain_id, role, sha256, size_bytes, footer_bytes, footer_sha256, record_count, plain_bytes,
                                first_disk, first_block, last_disk, last_block)
       select $1, $2, $3, * from unnest($4::text[], $5::int[], $6::int[], $7::text[], $8::int[], $9::bigint[], $10::int[], $11::int[], $12::int[], $13::int[])
     on conflict (tenant_id, chain_id, sha256) do update set role = excluded.role,
       doomed_at = case when chain_segment.replaced_by is null then null else chain_segment.doomed_at end,
       condemned_at = case when chain_segment.replaced_by is null then null else chain_segment.condemned_at end`,
    [
      tx.tenantId,
      chainId,
      role,
      segments.map(({ sha256 }) => sha256),
      segments.map(({ sizeBytes }) => sizeBytes),
      segments.map(({ footerBytes }) => footerBytes),
      segments.map(({ footerSha256 }) => footerSha256),
      segments.map(({ recordCount }) => recordCount),
      segments.map(({ plainBytes }) => plainBytes),
      segments.map(({ first }) => first.disk),
      segments.map(({ first }) => first.block),
      segments.map(({ last }) => last.disk),
      segments.map(({ last }) => last.block),
    ],
  );
}

/** As old as the chain: which key came when is not in the store, so each point may need any. */
async function adoptKeys(tx: Tx, { chainId, keys }: RecoveredChain): Promise<void> {
  for (const { kind, generation, recipient } of keys) {
    await tx.execute(
      `insert into chain_key (tenant_id, chain_id, kind, generation, recipient, writer_id, created_at)
         select $1, $2, $3, $4, $5, $6, least(now(), min(committed_at)) from chain_manifest where tenant_id = $1 and chain_id = $2
       on conflict do nothing`,
      [tx.tenantId, chainId, kind, generation, recipient, NOBODY],
    );
  }
}

/** Where everything is by now, and which points went. Indexes and counts that stood on the former places go; workers make new ones. */
async function adoptSnapshot(tx: Tx, chain: RecoveredChain): Promise<number> {
  const { chainId, snapshot, documents, segments, replacements, snapshotCycle, keptCycles } = chain;
  const params = [tx.tenantId, chainId];
  await upsertSegments(tx, chainId, segments, 'compacted');
  await tx.execute(
    `update chain_segment set doomed_at = clock_timestamp() where tenant_id = $1 and chain_id = $2 and role = 'compacted' and doomed_at is null and sha256 <> all($3::text[])`,
    [...params, segments.map(({ sha256 }) => sha256)],
  );
  for (const { segment, by } of replacements) {
    await tx.execute(
      `update chain_segment set doomed_at = coalesce(doomed_at, clock_timestamp()), replaced_by = $4::text[]
        where tenant_id = $1 and chain_id = $2 and sha256 = $3 and role = 'listed' and replaced_by is distinct from $4::text[]`,
      [...params, segment, by],
    );
  }
  await tx.execute(
    `update chain_index set doomed_at = clock_timestamp() where tenant_id = $1 and chain_id = $2 and doomed_at is null`,
    params,
  );
  await tx.execute(`delete from chain_bucket where tenant_id = $1 and chain_id = $2`, params);
  // All that it is made of: each is referred to from now on. What was gone by before is a stray.
  await tx.execute(`delete from chain_snapshot where tenant_id = $1 and chain_id = $2`, params);
  await tx.execute(
    `insert into chain_snapshot (tenant_id, chain_id, sequence, sha256, since)
       select $1, $2, document.sequence, document.sha256, $3 from unnest($4::bigint[], $5::text[]) document (sequence, sha256)`,
    [...params, snapshot!.since, documents.map(({ sequence }) => sequence), documents.map(({ sha256 }) => sha256)],
  );
  // A point that is only left out stays: what is missing of it may come back, and whether it is lost is not for the store to say.
  const kept = [...keptCycles].map(cycleToHex);
  return tx.execute(
    `delete from recovery_point p using chain_manifest m
      where p.tenant_id = $1 and p.chain_id = $2 and m.tenant_id = p.tenant_id and m.id = p.id and m.cycle <= $3 and m.cycle <> all($4::text[])
        and (p.immutable_until is null or p.immutable_until <= now())`,
    [...params, cycleToHex(snapshotCycle), kept],
  );
}

/**
 * What was seen of the store belongs to another time: it is seen anew, with a whole grace. What does not count is accounted for from here on, so that
 * collection may go on; what is damaged is not, until somebody gives it up.
 */
async function settleStrays(tx: Tx, chain: RecoveredChain, { givesUpDamaged }: AdoptOptions): Promise<void> {
  const params = [tx.tenantId, chain.chainId];
  await tx.execute(`delete from chain_stray where tenant_id = $1 and chain_id = $2`, params);
  await tx.execute(`insert into chain_stray (tenant_id, chain_id, name, held_until) select $1, $2, unnest($3::text[]), now()`, [
    ...params,
    chain.strayDocuments,
  ]);
  await tx.execute(`update replication_cycle set failure_code = null where tenant_id = $1 and chain_id = $2 and failure_code = $3`, [
    ...params,
    DAMAGED,
  ]);
  for (const leftOut of chain.leftOut) {
    if (!leftOut.name.startsWith('m/')) continue;
    const isOver = givesUpDamaged || isHarmless(leftOut);
    const [, , place = ''] = leftOut.name.split('/');
    await tx.execute(
      `insert into replication_cycle (id, tenant_id, chain_id, branch_id, cycle, sequence, kind, manifest_kind, state, writer_id, epoch_incarnation,
                                      epoch_counter, lease_expires_at, opened_at, ended_at, settled_at, failure_code)
         select $3, tenant_id, id, branch_id, $4, $5, 'delta', 'point', $7, $6, epoch_incarnation, epoch_counter, now(), now(), now(), now(), $8
           from replica_chain where tenant_id = $1 and id = $2
       on conflict (tenant_id, cycle) do update
          set state = case when replication_cycle.state = 'committed' then 'committed' else excluded.state end, settled_at = excluded.settled_at, failure_code = excluded.failure_code`,
      [...params, newId(), place.slice(11), Number(place.slice(0, 10)), NOBODY, ...(isOver ? ['voided', null] : ['failed', DAMAGED])],
    );
  }
}

/** Heads and epoch only go forward. Whatever was open is over: its writer learns of the new incarnation with its next request. */
async function adoptRoles(tx: Tx, chain: RecoveredChain, { incarnation }: AdoptOptions): Promise<void> {
  const { chainId, epoch, branchId } = chain;
  for (const { branchId: id, head } of chain.branches) {
    await tx.execute(
      `update chain_branch set head_branch_id = $3, head_sequence = $4, head_cycle = $5, head_sha256 = $6, head_path = $7
        where tenant_id = $1 and id = $2 and (head_cycle is null or head_cycle < $5)`,
      [tx.tenantId, id, ...refParams(head)],
    );
  }
  const moved = await tx.execute(
    `update replica_chain set branch_id = $3, epoch_counter = $4
      where tenant_id = $1 and id = $2 and branch_id <> $3 and (epoch_incarnation, epoch_counter) < ($5, $4)`,
    [tx.tenantId, chainId, branchId, epoch.counter, epoch.incarnation],
  );
  if (branchId !== null && moved > 0) await tellOfLostFailover(tx, chainId);
  await beginChainIncarnation(tx, chainId, incarnation, epoch.counter);
}

/** A failover took the role elsewhere, and this database has not heard of it: what runs where, a person must find out. */
export async function tellOfLostFailover(tx: Tx, chainId: string): Promise<void> {
  await tx.execute(
    `update replication_relationship set state = 'Error', revision = revision + 1, failure_code = $3,
            failure_message = 'a failover changed the roles, and this database does not know what became of it'
      where tenant_id = $1 and chain_id = $2 and removed_at is null`,
    [tx.tenantId, chainId, CODE_ROLES_UNKNOWN],
  );
  // Its VM may be running on the view of where the roles parted: what it was told stays, also what was doomed in this very transaction.
  await tx.execute(
    `insert into chain_lease (tenant_id, chain_id, id, cycle, holder, resolved_at)
       select b.tenant_id, b.chain_id, b.id, b.frozen_cycle, $3, now()
         from replica_chain c join chain_branch b on b.tenant_id = c.tenant_id and b.id = c.branch_id
        where c.tenant_id = $1 and c.id = $2 and b.frozen_cycle is not null
     on conflict do nothing`,
    [tx.tenantId, chainId, LOST_FAILOVER],
  );
}

export async function beginChainIncarnation(tx: Tx, chainId: string, incarnation: number, counter = 0): Promise<void> {
  const changed = await tx.execute(
    `update replica_chain set epoch_incarnation = $3, epoch_counter = greatest(epoch_counter, $4)
      where tenant_id = $1 and id = $2 and epoch_incarnation < $3`,
    [tx.tenantId, chainId, incarnation, counter],
  );
  if (changed === 0) return;
  await tx.execute(
    `update replication_cycle set state = 'voided', ended_at = now() where tenant_id = $1 and chain_id = $2 and state = 'open'`,
    [tx.tenantId, chainId],
  );
}
