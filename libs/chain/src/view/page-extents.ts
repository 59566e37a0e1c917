import { FULL_MASK, GRAIN_BYTES, GRAINS_PER_BLOCK } from '../limits.js';
import { BLOCKS_PER_PAGE, GRAINS_PER_PAGE, type Page } from '../indexes/page.js';
import type { PageSource } from '../indexes/page-source.js';
import type { PageStack } from '../indexes/page-stack.js';
import type { Extent } from './chain-view.js';

/** Of a disk, in bytes. */
interface Stretch {
  readonly disk: number;
  readonly offset: number;
  readonly length: number;
}

/** What was written within a stretch of a disk, cut to it: ascending, disjoint, joined where it touches. */
export async function extentsWithin(
  stack: PageStack,
  { disk, offset, length }: Stretch,
  load: (disk: number, page: number, speakers: ReadonlySet<PageSource>) => Promise<Page>,
): Promise<Extent[]> {
  const from = Math.floor(offset / GRAIN_BYTES);
  const to = Math.ceil((offset + length) / GRAIN_BYTES);
  const runs = new GrainRuns(from, to);
  const end = stack.endOf(disk);
  let at = from;
  const fillTo = (grain: number): void => {
    // Behind the smallest end everything is known to be zero, whether a page speaks of it or not.
    runs.add(Math.max(at, end), grain, true);
    at = Math.max(at, grain);
  };
  const [firstPage, lastPage] = [Math.floor(from / GRAINS_PER_PAGE), Math.ceil(to / GRAINS_PER_PAGE)];
  for await (const { first, count, page } of stack.stretches(disk, firstPage, lastPage, load)) {
    const start = first * GRAINS_PER_PAGE;
    fillTo(start);
    if (page.isZero) runs.add(start, start + count * GRAINS_PER_PAGE, true);
    else addPage(runs, page, start, end);
    at = start + count * GRAINS_PER_PAGE;
  }
  fillTo(to);
  return runs.list.map((run) => {
    const begin = Math.max(run.from * GRAIN_BYTES, offset);
    return { offset: begin, length: Math.min(run.to * GRAIN_BYTES, offset + length) - begin, zero: run.zero };
  });
}

/** The part of a page that lies within the stretch. */
function addPage(runs: GrainRuns, page: Page, start: number, end: number): void {
  const firstSlot = Math.max(0, Math.floor((runs.from - start) / GRAINS_PER_BLOCK));
  const endSlot = Math.min(BLOCKS_PER_PAGE, Math.ceil((runs.to - start) / GRAINS_PER_BLOCK));
  const data = new Uint16Array(endSlot - firstSlot);
  const zeros = new Uint16Array(endSlot - firstSlot);
  for (let index = page.firstAt(firstSlot); index < page.count && page.slots[index]! < endSlot; index += 1) {
    data[page.slots[index]! - firstSlot]! |= page.masks[index]!;
  }
  for (let pair = 0; pair < page.zeros.length; pair += 2) {
    const from = page.zeros[pair]! - firstSlot;
    const to = from + page.zeros[pair + 1]!;
    if (to > 0) zeros.fill(FULL_MASK, Math.max(0, from), to);
  }
  for (let slot = firstSlot; slot < endSlot; slot += 1) {
    const block = start + slot * GRAINS_PER_BLOCK;
    const behindEnd = Math.max(0, Math.min(GRAINS_PER_BLOCK, block + GRAINS_PER_BLOCK - end));
    const written = data[slot - firstSlot]!;
    const zero = (zeros[slot - firstSlot]! | (FULL_MASK << (GRAINS_PER_BLOCK - behindEnd))) & FULL_MASK & ~written;
    addBlock(runs, block, written, zero);
  }
}

function addBlock(runs: GrainRuns, block: number, data: number, zero: number): void {
  if (data === FULL_MASK) runs.add(block, block + GRAINS_PER_BLOCK, false);
  else if (zero === FULL_MASK) runs.add(block, block + GRAINS_PER_BLOCK, true);
  else {
    for (let grain = 0; grain < GRAINS_PER_BLOCK; grain += 1) {
      if (((data >> grain) & 1) === 1) runs.add(block + grain, block + grain + 1, false);
      else if (((zero >> grain) & 1) === 1) runs.add(block + grain, block + grain + 1, true);
    }
  }
}

/** Collects ascending runs of grains, cut to a stretch and joined. */
class GrainRuns {
  readonly list: { from: number; to: number; readonly zero: boolean }[] = [];

  constructor(
    readonly from: number,
    readonly to: number,
  ) {}

  add(from: number, to: number, zero: boolean): void {
    const start = Math.max(from, this.from);
    const end = Math.min(to, this.to);
    if (start >= end) return;
    const last = this.list.at(-1);
    if (last !== undefined && last.zero === zero && last.to === start) last.to = end;
    else this.list.push({ from: start, to: end, zero });
  }
}
