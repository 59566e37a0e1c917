import { GRAIN_BYTES, GRAINS_PER_BLOCK } from '../limits.js';
import { GrainRanges, GRAINS_END, type GrainRange } from './grain-ranges.js';
import type { RecordPlace, RecordTable } from './record-table.js';

const BLOCKS_PER_PAGE = 4096;
const GRAINS_PER_PAGE = BLOCKS_PER_PAGE * GRAINS_PER_BLOCK;

/**
 * Which records make up one disk of a view. Built from the newest layer to the oldest: what a newer layer said about a grain, data or zero, stands,
 * and an older record enters only with the grains it still shows. So a block never has more than 16.
 */
export class BlockMap {
  /** Handles of the newest record of each block, by page; 0 = none. Pages exist only where something was written. */
  readonly #pages = new Map<number, Uint32Array>();
  readonly #zeros = new GrainRanges();

  constructor(private readonly records: RecordTable) {}

  addRecord(block: number, mask: number, segment: number, offset: number, bytes: number): void {
    let visible = this.#zeros.isEmpty ? mask : mask & ~this.#zeros.maskOf(block);
    if (visible === 0) return;
    const page = this.#pageFor(block);
    const slot = block % BLOCKS_PER_PAGE;
    let oldest = 0;
    for (let handle = page[slot]!; handle !== 0; handle = this.records.older(handle)) {
      visible &= ~this.records.visible(handle);
      if (visible === 0) return;
      oldest = handle;
    }
    const added = this.records.append(segment, offset, bytes, visible);
    if (oldest === 0) page[slot] = added;
    else this.records.setOlder(oldest, added);
  }

  /** Whole blocks that were zero, ascending. */
  addZeroRuns(runs: readonly { readonly block: number; readonly count: number }[]): void {
    this.#zeros.add(runs.map(({ block, count }) => ({ from: block * GRAINS_PER_BLOCK, to: (block + count) * GRAINS_PER_BLOCK })));
  }

  /** The disk ended here in this layer: whatever older layers have behind is gone for good. */
  endAt(sizeBytes: number): void {
    this.#zeros.add([{ from: Math.ceil(sizeBytes / GRAIN_BYTES), to: GRAINS_END }]);
  }

  /** The records that own any of the wanted grains of a block, newest first. Their `visible` sets are disjoint. */
  recordsOf(block: number, wanted: number): RecordPlace[] {
    const found: RecordPlace[] = [];
    const page = this.#pages.get(Math.floor(block / BLOCKS_PER_PAGE));
    for (let handle = page?.[block % BLOCKS_PER_PAGE] ?? 0; handle !== 0; handle = this.records.older(handle)) {
      if ((this.records.visible(handle) & wanted) !== 0) found.push(this.records.place(handle));
    }
    return found;
  }

  /** What was written within a stretch of grains: ascending, disjoint, joined where it touches. */
  extents(from: number, to: number): (GrainRange & { readonly zero: boolean })[] {
    const extents: { from: number; to: number; zero: boolean }[] = [];
    const push = (range: GrainRange, zero: boolean): void => {
      const last = extents.at(-1);
      if (last !== undefined && last.zero === zero && last.to === range.from) last.to = range.to;
      else extents.push({ ...range, zero });
    };
    let at = from;
    for (const run of this.#dataRuns(from, to)) {
      for (const zeros of this.#zeros.within(at, run.from)) push(zeros, true);
      push(run, false);
      at = run.to;
    }
    for (const zeros of this.#zeros.within(at, to)) push(zeros, true);
    return extents;
  }

  *#dataRuns(from: number, to: number): Generator<GrainRange> {
    for (const pageIndex of this.#pagesWithin(Math.floor(from / GRAINS_PER_PAGE), Math.ceil(to / GRAINS_PER_PAGE))) {
      const page = this.#pages.get(pageIndex)!;
      const firstBlock = pageIndex * BLOCKS_PER_PAGE;
      const start = Math.max(0, Math.floor(from / GRAINS_PER_BLOCK) - firstBlock);
      const end = Math.min(BLOCKS_PER_PAGE, Math.ceil(to / GRAINS_PER_BLOCK) - firstBlock);
      for (let slot = start; slot < end; slot += 1) {
        if (page[slot] === 0) continue;
        yield* runsOf(this.#maskOf(page[slot]!), (firstBlock + slot) * GRAINS_PER_BLOCK, from, to);
      }
    }
  }

  #pagesWithin(from: number, to: number): number[] {
    if (to - from > this.#pages.size) return [...this.#pages.keys()].filter((index) => index >= from && index < to).sort((a, b) => a - b);
    const present: number[] = [];
    for (let index = from; index < to; index += 1) if (this.#pages.has(index)) present.push(index);
    return present;
  }

  #maskOf(newest: number): number {
    let mask = 0;
    for (let handle = newest; handle !== 0; handle = this.records.older(handle)) mask |= this.records.visible(handle);
    return mask;
  }

  #pageFor(block: number): Uint32Array {
    const index = Math.floor(block / BLOCKS_PER_PAGE);
    let page = this.#pages.get(index);
    if (page === undefined) {
      page = new Uint32Array(BLOCKS_PER_PAGE);
      this.#pages.set(index, page);
    }
    return page;
  }
}

/** The runs of set bits of a block's mask, cut to a stretch. */
function* runsOf(mask: number, firstGrain: number, from: number, to: number): Generator<GrainRange> {
  let start = -1;
  for (let grain = 0; grain <= GRAINS_PER_BLOCK; grain += 1) {
    const isSet = ((mask >> grain) & 1) === 1;
    if (isSet && start < 0) start = grain;
    if (isSet || start < 0) continue;
    const run = { from: Math.max(firstGrain + start, from), to: Math.min(firstGrain + grain, to) };
    start = -1;
    if (run.from < run.to) yield run;
  }
}
