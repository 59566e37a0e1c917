import {
  type CountedBucket,
  cycleToHex,
  maintenanceErrors,
  nameOfSegment,
  nameOfSnapshot,
  namesOfIndex,
  type SnapshotDocument,
  type Switch,
} from '#libs/chain';
import type { Tx } from '#libs/platform';
import { getChain } from './chains.js';
import { isKeptBeside, readKeptLineage, readSnapshot, readUpkeep } from './upkeep-reading.js';
import type { ChainId } from '#libs/kernel';

/*
 * How upkeep changes a chain, each function inside the caller's transaction. The chain's row is the lock, as it is for commits: what is decided here
 * is decided on what holds.
 */

/** Locks the chain and makes sure that nothing was moved since the reading. */
async function lockAt(tx: Tx, chainId: ChainId, revision: number): Promise<void> {
  await getChain(tx, chainId, { lock: true });
  await tx.execute(`insert into chain_upkeep (tenant_id, chain_id) values ($1, $2) on conflict do nothing`, [tx.tenantId, chainId]);
  if ((await readUpkeep(tx, chainId)).revision !== revision) throw maintenanceErrors.conflict('another maintenance step was first');
}

export async function recordCensus(tx: Tx, chainId: ChainId, revision: number, { start, end, counts }: CountedBucket): Promise<void> {
  await lockAt(tx, chainId, revision);
  const within = await cyclesBetween(tx, chainId, start, end);
  await tx.execute(`delete from chain_bucket where tenant_id = $1 and chain_id = $2 and end_cycle = any($3::text[])`, [
    tx.tenantId,
    chainId,
    within,
  ]);
  await tx.execute(`insert into chain_bucket (tenant_id, chain_id, end_cycle, start_cycle) values ($1, $2, $3, $4)`, [
    tx.tenantId,
    chainId,
    cycleToHex(end),
    start === null ? null : cycleToHex(start),
  ]);
  await insertCounts(
    tx,
    chainId,
    counts.map((count) => ({ ...count, end })),
  );
}

async function cyclesBetween(tx: Tx, chainId: ChainId, start: bigint | null, end: bigint): Promise<string[]> {
  const byCycle = new Map((await readKeptLineage(tx, chainId)).map(({ ref, parent }) => [ref.cycle, parent?.cycle]));
  const within: string[] = [];
  for (let cycle: bigint | undefined = end; cycle !== undefined && cycle !== (start ?? undefined); cycle = byCycle.get(cycle))
    within.push(cycleToHex(cycle));
  return within;
}

/** Counts of buckets that are counted; others are counted whole when their turn comes. */
async function insertCounts(tx: Tx, chainId: ChainId, counts: Switch['counts']): Promise<void> {
  await tx.execute(
    `insert into bucket_segment (tenant_id, chain_id, end_cycle, sha256, live_bytes)
       select b.tenant_id, b.chain_id, b.end_cycle, c.sha256, c.live_bytes
         from unnest($3::text[], $4::text[], $5::bigint[]) c (end_cycle, sha256, live_bytes)
         join chain_bucket b on b.tenant_id = $1 and b.chain_id = $2 and b.end_cycle = c.end_cycle`,
    [
      tx.tenantId,
      chainId,
      counts.map(({ end }) => cycleToHex(end)),
      counts.map(({ segment }) => segment),
      counts.map(({ liveBytes }) => liveBytes),
    ],
  );
}

export async function changeIndexes(
  tx: Tx,
  chainId: ChainId,
  change: Pick<Switch, 'revision' | 'addIndexes' | 'dropIndexes' | 'writtenBytes'>,
): Promise<void> {
  await lockAt(tx, chainId, change.revision);
  await adopt(tx, chainId, change.addIndexes.flatMap(namesOfIndex));
  await putIndexes(tx, chainId, change);
}

async function putIndexes(
  tx: Tx,
  chainId: ChainId,
  { addIndexes, dropIndexes, writtenBytes }: Pick<Switch, 'addIndexes' | 'dropIndexes' | 'writtenBytes'>,
): Promise<void> {
  await tx.execute(
    `update chain_index set doomed_at = clock_timestamp() where tenant_id = $1 and chain_id = $2 and sha256 = any($3::text[]) and doomed_at is null`,
    [tx.tenantId, chainId, dropIndexes],
  );
  for (const index of addIndexes)
    await tx.execute(
      `insert into chain_index (tenant_id, chain_id, sha256, size_bytes, first_position, last_position, last_cycle, branch_id, bytes, parts)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text[])
       on conflict (tenant_id, chain_id, sha256) do update set doomed_at = null`,
      [
        tx.tenantId,
        chainId,
        index.sha256,
        index.sizeBytes,
        index.first,
        index.last,
        cycleToHex(index.lastCycle),
        index.branchId,
        index.bytes,
        index.parts,
      ],
    );
  await tx.execute(`update chain_upkeep set written_bytes = written_bytes + $3 where tenant_id = $1 and chain_id = $2`, [
    tx.tenantId,
    chainId,
    writtenBytes,
  ]);
}

export async function recordSnapshot(tx: Tx, chainId: ChainId, documents: readonly SnapshotDocument[]): Promise<void> {
  await getChain(tx, chainId, { lock: true });
  await requireFollows(tx, chainId, documents);
  await adopt(tx, chainId, documents.map(nameOfSnapshot));
  await putSnapshots(tx, chainId, documents);
}

async function requireFollows(tx: Tx, chainId: ChainId, documents: readonly SnapshotDocument[]): Promise<void> {
  const next = ((await readSnapshot(tx, chainId))?.sequence ?? 0) + 1;
  if (documents.some(({ sequence }, index) => sequence !== next + index)) throw maintenanceErrors.conflict('another snapshot was first');
}

async function putSnapshots(tx: Tx, chainId: ChainId, documents: readonly SnapshotDocument[]): Promise<void> {
  for (const { sequence, sha256, since } of documents)
    await tx.execute(`insert into chain_snapshot (tenant_id, chain_id, sequence, sha256, since) values ($1, $2, $3, $4, $5)`, [
      tx.tenantId,
      chainId,
      sequence,
      sha256,
      since,
    ]);
  // Their names stay known until they are deleted: what nobody here ever named is another database's.
  await tx.execute(
    `with gone as (delete from chain_snapshot where tenant_id = $1 and chain_id = $2 and sequence < $3 returning sequence, sha256)
     insert into chain_stray (tenant_id, chain_id, name, held_until)
       select $1, $2, 'v/' || lpad(sequence::text, 10, '0') || '-' || sha256, now() from gone on conflict do nothing`,
    [tx.tenantId, chainId, documents.at(-1)?.since ?? 0],
  );
}

/** Objects that were held are referred to from now on. */
async function adopt(tx: Tx, chainId: ChainId, names: readonly string[]): Promise<void> {
  const wanted = new Set(names);
  const adopted = await tx.execute(
    `delete from chain_stray where tenant_id = $1 and chain_id = $2 and name = any($3::text[]) and condemned_at is null`,
    [tx.tenantId, chainId, [...wanted]],
  );
  if (adopted !== wanted.size) throw maintenanceErrors.conflict('an object is not held any more');
}

export async function switchSegments(tx: Tx, chainId: ChainId, change: Switch): Promise<void> {
  await lockAt(tx, chainId, change.revision);
  await requireFollows(tx, chainId, change.snapshot);
  if (await isKeptBeside(tx, chainId, change.buckets)) throw maintenanceErrors.conflict('a position is kept that the census took for dead');
  const old = change.replacements.map(({ segment }) => segment);
  const doomed = await tx.execute(
    `update chain_segment set doomed_at = clock_timestamp()
      where tenant_id = $1 and chain_id = $2 and sha256 = any($3::text[]) and role <> 'uploaded' and doomed_at is null`,
    [tx.tenantId, chainId, old],
  );
  if (doomed !== old.length) throw maintenanceErrors.conflict('a segment is doomed already');
  await insertCompacted(tx, chainId, change.segments);
  await adopt(tx, chainId, [
    ...change.segments.map(({ sha256 }) => nameOfSegment(sha256)),
    ...change.addIndexes.flatMap(namesOfIndex),
    ...change.snapshot.map(nameOfSnapshot),
  ]);
  await replace(tx, chainId, change.replacements);
  await tx.execute(`delete from bucket_segment where tenant_id = $1 and chain_id = $2 and sha256 = any($3::text[])`, [
    tx.tenantId,
    chainId,
    old,
  ]);
  await forgetOtherBuckets(tx, chainId, change.buckets);
  await insertCounts(tx, chainId, change.counts);
  await tx.execute(
    `update chain_index set doomed_at = clock_timestamp() where tenant_id = $1 and chain_id = $2 and doomed_at is null and not (sha256 = any($3::text[]))`,
    [tx.tenantId, chainId, change.knownIndexes],
  );
  await putIndexes(tx, chainId, change);
  await putSnapshots(tx, chainId, change.snapshot);
  await tx.execute(`update chain_upkeep set revision = revision + 1 where tenant_id = $1 and chain_id = $2`, [tx.tenantId, chainId]);
}

/** Buckets of another census than the step's know nothing of the new segments: they are counted anew. */
async function forgetOtherBuckets(tx: Tx, chainId: ChainId, buckets: Switch['buckets']): Promise<void> {
  await tx.execute(
    `delete from chain_bucket b
      where tenant_id = $1 and chain_id = $2
        and not exists (select 1 from unnest($3::text[], $4::text[]) own (end_cycle, start_cycle)
                         where own.end_cycle = b.end_cycle and own.start_cycle is not distinct from b.start_cycle)`,
    [
      tx.tenantId,
      chainId,
      buckets.map(({ end }) => cycleToHex(end)),
      buckets.map(({ start }) => (start === null ? null : cycleToHex(start))),
    ],
  );
}

async function insertCompacted(tx: Tx, chainId: ChainId, segments: Switch['segments']): Promise<void> {
  for (const { sha256, sizeBytes, footerBytes, footerSha256, recordCount, plainBytes, first, last } of segments) {
    const inserted = await tx.execute(
      `insert into chain_segment (tenant_id, chain_id, sha256, size_bytes, footer_bytes, footer_sha256, record_count, plain_bytes,
                                  first_disk, first_block, last_disk, last_block, role)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'compacted')
       on conflict (tenant_id, chain_id, sha256) do update set doomed_at = null
         where chain_segment.role = 'compacted' and chain_segment.doomed_at is not null and chain_segment.condemned_at is null`,
      [
        tx.tenantId,
        chainId,
        sha256,
        sizeBytes,
        footerBytes,
        footerSha256,
        recordCount,
        plainBytes,
        first.disk,
        first.block,
        last.disk,
        last.block,
      ],
    );
    if (inserted === 0) throw maintenanceErrors.conflict('a new segment stands already');
  }
}

/** What stood for a replaced segment is said anew in every row that names it: readers follow one step, whatever was compacted how often. */
async function replace(tx: Tx, chainId: ChainId, replacements: Switch['replacements']): Promise<void> {
  const params = [tx.tenantId, chainId, JSON.stringify(Object.fromEntries(replacements.map(({ segment, by }) => [segment, by])))];
  await tx.execute(
    `update chain_segment s
        set replaced_by = array(select distinct jsonb_array_elements_text(coalesce(($3::jsonb) -> one, jsonb_build_array(one)))
                                  from unnest(s.replaced_by) one)
      where tenant_id = $1 and chain_id = $2 and replaced_by && array(select jsonb_object_keys($3::jsonb))`,
    params,
  );
  await tx.execute(
    `update chain_segment set replaced_by = array(select jsonb_array_elements_text(($3::jsonb) -> sha256))
      where tenant_id = $1 and chain_id = $2 and role = 'listed' and sha256 = any(array(select jsonb_object_keys($3::jsonb)))`,
    params,
  );
}
