import {
  catalogueErrors,
  type ChainReading,
  type CountedBucket,
  cycleToHex,
  type IndexEntry,
  type LineageEntry,
  type ListEntry,
  maintenanceErrors,
  type Replacement,
  type SnapshotDocument,
} from '#libs/chain';
import { asId, type BranchId } from '#libs/kernel';
import type { RowOf, Tx } from '#libs/platform';
import { manifestRefOf, type ManifestRow } from './manifests.js';
import { cycleOf, refOf } from './manifest-ref.js';
import { chainIndexTable, type chainSnapshotTable } from './upkeep-tables.js';
import type { chainSegmentTable } from './tables.js';

type SegmentRow = RowOf<typeof chainSegmentTable>;

/**
 * All of a chain that maintenance decides on. What is kept and the lineage come from one statement: a manifest that is in the lineage and led to by
 * nothing kept is dead, so neither may be newer than the other. The other statements may see later states, which only add. What must not change
 * meanwhile is what stands where, and the revision tells.
 */
export async function readChain(tx: Tx, chainId: string): Promise<ChainReading> {
  const { revision, writtenBytes, askedBytes } = await readUpkeep(tx, chainId);
  const lineage = await readKeptLineage(tx, chainId);
  const segments = await tx.query<SegmentRow & { readonly cycle: string | null }>(
    `select s.*, c.cycle from chain_segment s
       left join cycle_segment y on s.role = 'listed' and y.tenant_id = s.tenant_id and y.chain_id = s.chain_id and y.sha256 = s.sha256
       left join replication_cycle c on c.tenant_id = y.tenant_id and c.id = y.cycle_id
      where s.tenant_id = $1 and s.chain_id = $2 and s.role <> 'uploaded' and s.doomed_at is null`,
    [tx.tenantId, chainId],
  );
  const reading = {
    revision,
    lineage: lineage.map(({ ref, parent }) => ({ ref, parent })),
    kept: new Set(lineage.filter(({ isKept }) => isKept).map(({ ref }) => ref.cycle)),
    segments: segments.map((row) => ({ ...toListEntry(row), cycle: row.cycle === null ? null : cycleOf(row.cycle) })),
    replacements: await readReplacements(tx, chainId),
    buckets: await readBuckets(tx, chainId),
    indexes: await readIndexes(tx, chainId),
    snapshot: await readSnapshot(tx, chainId),
    ingestedBytes: await countIngested(tx, chainId),
    writtenBytes,
    askedBytes,
  };
  if ((await readUpkeep(tx, chainId)).revision !== revision)
    throw maintenanceErrors.conflict('another step ended while the chain was read');
  return reading;
}

export async function readUpkeep(tx: Tx, chainId: string): Promise<{ revision: number; writtenBytes: number; askedBytes: number }> {
  const row = await tx.maybeOne<{ revision: number; written_bytes: number; asked_bytes: number }>(
    `select coalesce(u.revision, 0) as revision, coalesce(u.written_bytes, 0) as written_bytes, coalesce(u.asked_bytes, 0) as asked_bytes
       from replica_chain c left join chain_upkeep u on u.tenant_id = c.tenant_id and u.chain_id = c.id where c.tenant_id = $1 and c.id = $2`,
    [tx.tenantId, chainId],
  );
  if (row === undefined) throw catalogueErrors.chainNotFound();
  return { revision: row.revision, writtenBytes: row.written_bytes, askedBytes: row.asked_bytes };
}

/** Cycles of the manifests that somebody may read or build on. */
const KEPT = `
  select m.cycle from recovery_point p join chain_manifest m on m.tenant_id = p.tenant_id and m.id = p.id where p.tenant_id = $1 and p.chain_id = $2
  union select head_cycle from chain_branch where tenant_id = $1 and chain_id = $2 and head_cycle is not null
  union select frozen_cycle from chain_branch where tenant_id = $1 and chain_id = $2 and frozen_cycle is not null
  union select parent_cycle from replication_cycle where tenant_id = $1 and chain_id = $2 and state = 'open' and parent_cycle is not null
  union select cycle from chain_lease where tenant_id = $1 and chain_id = $2 and (expires_at is null or expires_at > clock_timestamp())`;

/** Whether a position is kept that ends none of these buckets, though it is no later than they are. */
export async function isKeptBeside(tx: Tx, chainId: string, buckets: readonly { readonly end: bigint }[]): Promise<boolean> {
  const rows = await tx.query(
    `select 1 from (${KEPT}) kept where cycle <> all($3::text[]) and cycle < (select max(own) from unnest($3::text[]) own) limit 1`,
    [tx.tenantId, chainId, buckets.map(({ end }) => cycleToHex(end))],
  );
  return rows.length > 0;
}

/** Every committed manifest, and whether it is kept, as of one instant. */
export async function readKeptLineage(tx: Tx, chainId: string): Promise<(LineageEntry & { readonly isKept: boolean })[]> {
  const rows = await tx.query<ManifestRow & { readonly is_kept: boolean }>(
    `select branch_id, sequence, cycle, sha256, path, parent_branch_id, parent_sequence, parent_cycle, parent_sha256, parent_path,
            cycle in (${KEPT}) as is_kept
       from chain_manifest where tenant_id = $1 and chain_id = $2`,
    [tx.tenantId, chainId],
  );
  return rows.map((row) => ({ ref: manifestRefOf(row), parent: refOf(row, 'parent'), isKept: row.is_kept }));
}

export async function readReplacements(tx: Tx, chainId: string): Promise<Replacement[]> {
  const replaced = await tx.query<{ sha256: string; replaced_by: string[]; cycle: string }>(
    `select s.sha256, s.replaced_by, c.cycle from chain_segment s
       join cycle_segment y on y.tenant_id = s.tenant_id and y.chain_id = s.chain_id and y.sha256 = s.sha256
       join replication_cycle c on c.tenant_id = y.tenant_id and c.id = y.cycle_id
      where s.tenant_id = $1 and s.chain_id = $2 and s.replaced_by is not null`,
    [tx.tenantId, chainId],
  );
  const compacted = await tx.query<SegmentRow>(
    `select * from chain_segment where tenant_id = $1 and chain_id = $2 and role = 'compacted' and doomed_at is null`,
    [tx.tenantId, chainId],
  );
  const entries = new Map(compacted.map((row) => [row.sha256, toListEntry(row)]));
  return replaced.map((row) => ({
    segment: row.sha256,
    cycle: cycleOf(row.cycle),
    by: row.replaced_by.map((sha256) => standingEntry(entries, sha256)),
  }));
}

/** So many dissolved segments, and so many in their places, that a page of them has some 6 MiB on the wire. */
const PAGE_SEGMENTS = 4_096;
const PAGE_ENTRIES = 16_384;

/** What stands for the dissolved segments of these layers, in the order of their names, from behind one of them on. */
export async function pageOfReplacements(
  tx: Tx,
  chainId: string,
  cycles: readonly bigint[],
  after: string | null,
): Promise<{ readonly replacements: readonly Omit<Replacement, 'cycle'>[]; readonly more: string | null }> {
  const rows = await tx.query<{ sha256: string; replaced_by: string[] }>(
    `select s.sha256, s.replaced_by from chain_segment s
       join cycle_segment y on y.tenant_id = s.tenant_id and y.chain_id = s.chain_id and y.sha256 = s.sha256
       join replication_cycle c on c.tenant_id = y.tenant_id and c.id = y.cycle_id
      where s.tenant_id = $1 and s.chain_id = $2 and s.replaced_by is not null and c.cycle = any($3::text[]) and s.sha256 > $4
      order by s.sha256 limit $5`,
    [tx.tenantId, chainId, cycles.map(cycleToHex), after ?? '', PAGE_SEGMENTS + 1],
  );
  let entryCount = 0;
  const fitting = rows.findIndex(({ replaced_by }, index) => (entryCount += replaced_by.length) > PAGE_ENTRIES && index > 0);
  const page = rows.slice(0, Math.min(PAGE_SEGMENTS, fitting === -1 ? rows.length : fitting));
  const standing = await tx.query<SegmentRow>(
    `select * from chain_segment where tenant_id = $1 and chain_id = $2 and role = 'compacted' and doomed_at is null and sha256 = any($3::text[])`,
    [tx.tenantId, chainId, [...new Set(page.flatMap((row) => row.replaced_by))]],
  );
  const entries = new Map(standing.map((row) => [row.sha256, toListEntry(row)]));
  const replacements = page.map((row) => ({ segment: row.sha256, by: row.replaced_by.map((sha256) => standingEntry(entries, sha256)) }));
  return { replacements, more: page.length < rows.length ? page.at(-1)!.sha256 : null };
}

/** A step that ended between two statements of a transaction shows as an entry that stands no more. */
function standingEntry(entries: ReadonlyMap<string, ListEntry>, sha256: string): ListEntry {
  const entry = entries.get(sha256);
  if (entry === undefined) throw maintenanceErrors.conflict('another step ended while the chain was read');
  return entry;
}

async function readBuckets(tx: Tx, chainId: string): Promise<CountedBucket[]> {
  const rows = await tx.query<{ end_cycle: string; start_cycle: string | null; sha256: string | null; live_bytes: number }>(
    `select b.end_cycle, b.start_cycle, s.sha256, s.live_bytes from chain_bucket b
       left join bucket_segment s on s.tenant_id = b.tenant_id and s.chain_id = b.chain_id and s.end_cycle = b.end_cycle
      where b.tenant_id = $1 and b.chain_id = $2`,
    [tx.tenantId, chainId],
  );
  const buckets = new Map<string, CountedBucket & { readonly counts: { segment: string; liveBytes: number }[] }>();
  for (const { end_cycle: end, start_cycle: start, sha256, live_bytes: liveBytes } of rows) {
    let bucket = buckets.get(end);
    if (bucket === undefined) buckets.set(end, (bucket = { end: cycleOf(end), start: start === null ? null : cycleOf(start), counts: [] }));
    if (sha256 !== null) bucket.counts.push({ segment: sha256, liveBytes });
  }
  return [...buckets.values()];
}

export async function readIndexes(tx: Tx, chainId: string): Promise<IndexEntry[]> {
  const rows = await tx.query<RowOf<typeof chainIndexTable>>(
    `select ${chainIndexTable.list} from chain_index where tenant_id = $1 and chain_id = $2 and doomed_at is null`,
    [tx.tenantId, chainId],
  );
  return rows.map((row) => ({
    sha256: row.sha256,
    sizeBytes: row.size_bytes,
    first: row.first_position,
    last: row.last_position,
    lastCycle: cycleOf(row.last_cycle),
    branchId: asId<BranchId>(row.branch_id),
    bytes: row.bytes,
    parts: row.parts,
  }));
}

export async function readSnapshot(tx: Tx, chainId: string): Promise<SnapshotDocument | null> {
  const row = await tx.maybeOne<RowOf<typeof chainSnapshotTable>>(
    `select * from chain_snapshot where tenant_id = $1 and chain_id = $2 order by sequence desc limit 1`,
    [tx.tenantId, chainId],
  );
  return row === undefined ? null : { sequence: row.sequence, sha256: row.sha256, since: row.since };
}

async function countIngested(tx: Tx, chainId: string): Promise<number> {
  const { bytes } = await tx.one<{ bytes: number }>(
    `select coalesce(sum(sent_bytes), 0)::bigint as bytes from chain_manifest where tenant_id = $1 and chain_id = $2`,
    [tx.tenantId, chainId],
  );
  return bytes;
}

/** A segment that stands for itself, with what pins its footer. */
export async function findStandingSegment(tx: Tx, chainId: string, sha256: string): Promise<ListEntry | undefined> {
  const row = await tx.maybeOne<SegmentRow>(
    `select * from chain_segment where tenant_id = $1 and chain_id = $2 and sha256 = $3 and role <> 'uploaded' and doomed_at is null`,
    [tx.tenantId, chainId, sha256],
  );
  return row === undefined ? undefined : toListEntry(row);
}

function toListEntry(row: SegmentRow): ListEntry {
  return {
    sha256: row.sha256,
    sizeBytes: row.size_bytes,
    footerBytes: row.footer_bytes,
    footerSha256: row.footer_sha256,
    recordCount: row.record_count,
    plainBytes: row.plain_bytes,
    first: { disk: row.first_disk, block: row.first_block },
    last: { disk: row.last_disk, block: row.last_block },
  };
}
