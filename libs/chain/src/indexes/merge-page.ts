import { FULL_MASK, GRAINS_PER_BLOCK } from '../limits.js';
import { BLOCKS_PER_PAGE, GRAINS_PER_PAGE, Page, PageBuilder, rangesOf } from './page.js';

/** What one source says about a page, and the grain, counted from the page's first, behind which nothing older counts. */
export interface PagePart {
  readonly page: Page;
  readonly end: number;
}

/**
 * Puts the parts of one page together, newest first: what a newer part shows of a grain, data or zero, stands, and an older record enters only with the
 * grains it still shows. This is the whole rule by which layers shadow one another; building an index, looking a block up and counting what is live all
 * come down to it. Bounded by the page, not by how many parts there are.
 */
export function mergePage(parts: Iterable<PagePart>): Page {
  const decided = new Uint16Array(BLOCKS_PER_PAGE);
  const zeros = new Uint8Array(BLOCKS_PER_PAGE);
  const result = new PageBuilder();
  for (const { page, end } of parts) {
    addRecords(page, decided, result);
    addZeros(page, decided, zeros);
    endAt(end, decided);
  }
  return result.build(rangesOf(zeros));
}

function addRecords(page: Page, decided: Uint16Array, result: PageBuilder): void {
  if (page.count === 0) return;
  const handles = new Int32Array(page.segmentNames.length).fill(-1);
  for (let index = 0; index < page.count; index += 1) {
    const slot = page.slots[index]!;
    const visible = page.masks[index]! & ~decided[slot]!;
    if (visible === 0) continue;
    decided[slot]! |= visible;
    const segment = page.segments[index]!;
    let handle = handles[segment]!;
    if (handle < 0) handle = handles[segment] = result.handleOf(page.segmentNames[segment]!);
    result.add(slot, handle, page.offsets[index]!, page.lengths[index]!, visible, page.positions[index]!);
  }
}

function addZeros({ zeros: ranges }: Page, decided: Uint16Array, zeros: Uint8Array): void {
  for (let pair = 0; pair < ranges.length; pair += 2) {
    const end = ranges[pair]! + ranges[pair + 1]!;
    for (let slot = ranges[pair]!; slot < end; slot += 1) {
      if (decided[slot] === FULL_MASK) continue;
      decided[slot] = FULL_MASK;
      zeros[slot] = 1;
    }
  }
}

function endAt(end: number, decided: Uint16Array): void {
  if (end >= GRAINS_PER_PAGE) return;
  const from = Math.max(0, end);
  const slot = Math.floor(from / GRAINS_PER_BLOCK);
  decided[slot]! |= (FULL_MASK << (from % GRAINS_PER_BLOCK)) & FULL_MASK;
  decided.fill(FULL_MASK, slot + 1);
}
