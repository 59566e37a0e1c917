import { assert } from '#libs/kernel';
import { BLOCKS_PER_PAGE } from '../indexes/page.js';
import type { PageStack } from '../indexes/page-stack.js';
import type { ListEntry } from '../manifest/list-page.js';
import type { BlockPosition } from '../segment/segment-summary.js';
import type { ChainReading, CountedBucket, SegmentCount } from './chain-ledger.js';
import { keptBuckets, type Bucket } from './kept-buckets.js';
import { COSTLY_BLOCKS_MAX, costlySlots, GrainEstimate } from './costly-blocks.js';
import { readPinnedFooter } from './pinned-footer.js';
import { crash, openBucket, sourceOf, standingOn, type Upkeep } from './upkeep.js';

/** How much of every segment lives, as of one reading. What it says is dead stays dead; what lives may die meanwhile. */
export interface Census {
  readonly reading: ChainReading;
  readonly buckets: readonly Bucket[];
  /** Of every segment that stands and that a layer of the reading lists, or compaction made: 0 where nothing of it lives. */
  readonly liveBytes: ReadonlyMap<string, number>;
  /** Blocks that cost more than twice what they show, of the buckets that this census counted itself; some, where there are many. */
  readonly costly: readonly BlockPosition[];
}

/**
 * Counts what lives in the buckets that no census counted yet, one after another, and remembers each: whoever comes after a crash goes on with the next.
 * `maintenance.conflict` when somebody moved segments meanwhile.
 */
export async function takeCensus(upkeep: Upkeep): Promise<Census> {
  const reading = await upkeep.ledger.read(upkeep.address);
  const buckets = keptBuckets(reading.lineage, reading.kept);
  const counted = new Map(reading.buckets.map((bucket) => [bucket.end, bucket]));
  const liveBytes = new Map<string, number>();
  const costly: BlockPosition[] = [];
  for (const bucket of buckets) {
    let counts = counted.get(bucket.end);
    if (counts === undefined || counts.start !== bucket.start) {
      counts = {
        start: bucket.start,
        end: bucket.end,
        counts: await standingOn(upkeep, reading, () => countBucket(upkeep, reading, bucket, costly)),
      };
      await upkeep.ledger.recordCensus(upkeep.address, reading.revision, counts);
      crash(upkeep, 'census-recorded');
    }
    addCounts(liveBytes, counts);
  }
  const committed = new Set(reading.lineage.map(({ ref }) => ref.cycle));
  for (const { sha256, cycle } of reading.segments) {
    // One of a layer that came after the lineage was read is none of this census.
    if ((cycle === null || committed.has(cycle)) && !liveBytes.has(sha256)) liveBytes.set(sha256, 0);
  }
  return { reading, buckets, liveBytes, costly };
}

function addCounts(liveBytes: Map<string, number>, { counts }: CountedBucket): void {
  for (const count of counts) liveBytes.set(count.segment, (liveBytes.get(count.segment) ?? 0) + count.liveBytes);
}

async function countBucket(upkeep: Upkeep, reading: ChainReading, bucket: Bucket, costly: BlockPosition[]): Promise<SegmentCount[]> {
  const estimate = new GrainEstimate(reading);
  const stack = await openBucket(upkeep, reading, bucket);
  const live = new Map<string, number>();
  for await (const { disk, first, page } of stack.all()) {
    upkeep.signal.throwIfAborted();
    const bytes = new Float64Array(page.segmentNames.length);
    for (let index = 0; index < page.count; index += 1) bytes[page.segments[index]!]! += page.lengths[index]!;
    for (const slot of costlySlots(page, estimate))
      if (costly.length < COSTLY_BLOCKS_MAX) costly.push({ disk, block: first * BLOCKS_PER_PAGE + slot });
    for (const [handle, segment] of page.segmentNames.entries()) live.set(segment, (live.get(segment) ?? 0) + bytes[handle]!);
  }
  const cycles = new Set(bucket.layers.map(({ cycle }) => cycle));
  // Zero runs have no place in pages. They decide where nothing else of a segment lives.
  for (const entry of segmentsIn(reading, cycles)) {
    if ((live.get(entry.sha256) ?? 0) === 0) live.set(entry.sha256, await liveZeroBytes(upkeep, stack, entry, cycles));
  }
  return [...live].filter(([, liveBytes]) => liveBytes > 0).map(([segment, liveBytes]) => ({ segment, liveBytes }));
}

/** The segments that hold records of a bucket's layers. */
function segmentsIn({ segments, replacements }: ChainReading, cycles: ReadonlySet<bigint>): ListEntry[] {
  const found = new Map<string, ListEntry>();
  for (const segment of segments) if (segment.cycle !== null && cycles.has(segment.cycle)) found.set(segment.sha256, segment);
  for (const { cycle, by } of replacements) if (cycles.has(cycle)) for (const entry of by) found.set(entry.sha256, entry);
  return [...found.values()];
}

async function liveZeroBytes(upkeep: Upkeep, stack: PageStack, entry: ListEntry, cycles: ReadonlySet<bigint>): Promise<number> {
  const footer = await readPinnedFooter(sourceOf(upkeep), entry);
  let bytes = 0;
  for (let index = 0; index < footer.count; index += 1) {
    const count = footer.zeroCounts[index]!;
    const isLive =
      count > 0 && cycles.has(footer.cycles[index]!) && (await showsZeros(stack, footer.disks[index]!, footer.blocks[index]!, count));
    if (isLive) bytes += footer.lengths[index]!;
  }
  return bytes;
}

/**
 * Whether anything of these blocks reads as zero because some layer said so. That may have been another layer than the run's: then the run is kept for
 * nothing, and does no harm.
 */
export async function showsZeros(stack: PageStack, disk: number, block: number, count: number): Promise<boolean> {
  assert(count > 0, 'a zero run covers a block');
  const end = block + count;
  for await (const { first, count: pages, page } of stack.stretches(
    disk,
    Math.floor(block / BLOCKS_PER_PAGE),
    Math.ceil(end / BLOCKS_PER_PAGE),
  )) {
    if (page.isZero && pages > 0) return true;
    const base = first * BLOCKS_PER_PAGE;
    for (let pair = 0; pair < page.zeros.length; pair += 2) {
      const from = base + page.zeros[pair]!;
      if (from < end && from + page.zeros[pair + 1]! > block) return true;
    }
  }
  return false;
}
