import { putBytes } from '#libs/object-store';
import { ByteCache } from '../indexes/byte-cache.js';
import { BLOCKS_PER_PAGE, type Page } from '../indexes/page.js';
import type { PageStack } from '../indexes/page-stack.js';
import type { ListEntry } from '../manifest/list-page.js';
import { ObjectNames } from '../object-names.js';
import { SegmentFooter } from '../segment/segment-footer.js';
import { comparePositions } from '../segment/segment-summary.js';
import { sha256Hex } from '../sha256.js';
import { orMissing } from '../view/view-source.js';
import { showsZeros, type Census } from './census.js';
import type { Bucket } from './kept-buckets.js';
import { isNameTaken } from './maintenance-errors.js';
import type { MovedRecord, Moves } from './moved-source.js';
import { compareRecords, packRecords, type SealedRecord } from './pack-records.js';
import { crash, openBucket, type HeldObjectStore, type Upkeep } from './upkeep.js';

/** What became of the segments that were moved. */
export interface Moved {
  readonly segments: readonly ListEntry[];
  readonly counts: readonly { readonly end: bigint; readonly segment: string; readonly liveBytes: number }[];
  /** By old segment: which of `segments` hold what lived of it. */
  readonly by: ReadonlyMap<string, ReadonlySet<string>>;
  readonly moves: Moves;
  /** Cycles of all records, dead ones too, of the segments that were moved. */
  readonly cycles: ReadonlySet<bigint>;
}

/**
 * These segments stay where they are: their records would make one whose name is taken for now, until others join them or the name is free; or one of
 * them is damaged, until it is mended.
 */
export class UnmovableError extends Error {
  constructor(readonly segments: ReadonlySet<string>) {
    super('a segment cannot be moved for now');
  }
}

interface MovingRecord extends SealedRecord {
  readonly from: { readonly segment: string; readonly offset: number };
  /** End of the bucket it lives in. */
  readonly end: bigint;
}

/**
 * Copies what lives of some segments into new ones, batch by batch, without any key. Each old segment is read whole and must be what its name says: a
 * record that was damaged in the store is never carried on under a new name. Nothing refers to the new segments yet.
 * Throws {@link UnmovableError}.
 */
export async function moveRecords(upkeep: Upkeep, store: HeldObjectStore, census: Census, victims: readonly ListEntry[]): Promise<Moved> {
  const lives = new LiveRecords(upkeep, census);
  const moves = new Map<string, Map<number, MovedRecord>>(victims.map(({ sha256 }) => [sha256, new Map()]));
  const by = new Map<string, Set<string>>(victims.map(({ sha256 }) => [sha256, new Set()]));
  const result = {
    segments: [] as ListEntry[],
    counts: [] as { end: bigint; segment: string; liveBytes: number }[],
    cycles: new Set<bigint>(),
  };
  const write = async (records: MovingRecord[]): Promise<void> => {
    for (const { entry, bytes, records: placed } of packRecords(
      upkeep.address.chainId,
      records.sort(compareRecords),
      upkeep.options.targetBytes,
    )) {
      upkeep.signal.throwIfAborted();
      await putBytes(store, store.names.segment(entry.sha256), bytes, upkeep.signal).catch((error: unknown) => {
        throw isNameTaken(error) ? new UnmovableError(new Set(placed.map(({ record }) => record.from.segment))) : error;
      });
      crash(upkeep, 'segment-moved');
      const ends = new Map<bigint, number>();
      for (const { record, offset } of placed) {
        moves.get(record.from.segment)!.set(record.from.offset, { segment: entry.sha256, offset, length: record.bytes.length });
        by.get(record.from.segment)!.add(entry.sha256);
        ends.set(record.end, (ends.get(record.end) ?? 0) + record.bytes.length);
      }
      result.segments.push(entry);
      for (const [end, liveBytes] of ends) result.counts.push({ end, segment: entry.sha256, liveBytes });
    }
  };
  let batch: MovingRecord[] = [];
  let batchBytes = 0;
  for (const victim of [...victims].sort((a, b) => comparePositions(a.first, b.first))) {
    const { records, cycles } = await readLive(upkeep, lives, victim);
    for (const cycle of cycles) result.cycles.add(cycle);
    batch.push(...records);
    batchBytes += records.reduce((sum, { bytes }) => sum + bytes.length, 0);
    if (batchBytes < upkeep.options.batchBytes) continue;
    await write(batch);
    [batch, batchBytes] = [[], 0];
  }
  await write(batch);
  return { ...result, by, moves };
}

async function readLive(upkeep: Upkeep, lives: LiveRecords, victim: ListEntry): Promise<{ records: MovingRecord[]; cycles: Set<bigint> }> {
  const { store, signal } = upkeep;
  const segment = victim.sha256;
  const bytes = await orMissing('view.segment-missing', store.get(lives.names.segment(segment), undefined, signal));
  // The scrub tells of it, and a repair moves what lives of it.
  if (sha256Hex(bytes) !== segment) throw new UnmovableError(new Set([segment]));
  const footer = SegmentFooter.read(bytes.subarray(victim.sizeBytes - victim.footerBytes), victim);
  const records: MovingRecord[] = [];
  for await (const { index, end } of lives.of(segment, footer)) {
    const [disk, block, cycle, offset] = [footer.disks[index]!, footer.blocks[index]!, footer.cycles[index]!, footer.offsets[index]!];
    // Copied, so that the rest of the old segment can go.
    const record = Buffer.from(bytes.subarray(offset, offset + footer.lengths[index]!));
    records.push({ disk, block, cycle, isZeroRun: footer.zeroCounts[index]! > 0, bytes: record, from: { segment, offset }, end });
  }
  return { records, cycles: new Set(footer.cycles) };
}

/** Tells of single records whether they live, bucket by bucket and page by page. */
export class LiveRecords {
  readonly names: HeldObjectStore['names'];
  readonly #bucketByCycle = new Map<bigint, Bucket>();
  readonly #stacks = new Map<bigint, Promise<PageStack>>();
  readonly #pages: ByteCache<Page>;

  constructor(
    private readonly upkeep: Upkeep,
    private readonly census: Census,
  ) {
    this.names = new ObjectNames(upkeep.address.tenantId, upkeep.address.chainId);
    this.#pages = new ByteCache(upkeep.options.cacheBytes, ({ memoryBytes }) => memoryBytes);
    for (const bucket of census.buckets) for (const { cycle } of bucket.layers) this.#bucketByCycle.set(cycle, bucket);
  }

  /** Of a segment's records those that live, in its order, each with the end of the bucket it lives in. */
  async *of(segment: string, footer: SegmentFooter): AsyncGenerator<{ readonly index: number; readonly end: bigint }> {
    for (let index = 0; index < footer.count; index += 1) {
      const end = await this.#bucketOf({
        segment,
        disk: footer.disks[index]!,
        block: footer.blocks[index]!,
        cycle: footer.cycles[index]!,
        offset: footer.offsets[index]!,
        zeroCount: footer.zeroCounts[index]!,
      });
      if (end !== null) yield { index, end };
    }
  }

  /** The end of the bucket at which the record shows; null when it is dead. */
  async #bucketOf(record: {
    readonly segment: string;
    readonly disk: number;
    readonly block: number;
    readonly cycle: bigint;
    readonly offset: number;
    readonly zeroCount: number;
  }): Promise<bigint | null> {
    const { segment, disk, block, cycle, offset, zeroCount } = record;
    const bucket = this.#bucketByCycle.get(cycle);
    if (bucket === undefined) return null;
    const stack = await this.#stackOf(bucket);
    if (zeroCount > 0) return (await showsZeros(stack, disk, block, zeroCount)) ? bucket.end : null;
    const pageIndex = Math.floor(block / BLOCKS_PER_PAGE);
    const page = await this.#pages.get(`${bucket.end} ${disk} ${pageIndex}`, () => stack.page(disk, pageIndex));
    const places = page.recordsOf(block % BLOCKS_PER_PAGE);
    return places.some((place) => place.segment === segment && place.offset === offset) ? bucket.end : null;
  }

  #stackOf(bucket: Bucket): Promise<PageStack> {
    let stack = this.#stacks.get(bucket.end);
    if (stack === undefined) this.#stacks.set(bucket.end, (stack = openBucket(this.upkeep, this.census.reading, bucket)));
    return stack;
  }
}
