import { GRAIN_BYTES, TAG_BYTES } from '../limits.js';
import type { Page } from '../indexes/page.js';
import { BLOCKS_PER_PAGE } from '../indexes/page.js';
import { grainCount, RECORD_HEADER_BYTES } from '../record-header.js';
import type { BlockPosition } from '../segment/segment-summary.js';
import type { ChainReading } from './chain-ledger.js';
import { pathOf } from './resolve-view.js';
import { openStretch, standingOn, type Upkeep } from './upkeep.js';

/** Records that show little of what they hold may make a block cost this many times its live grains; above, it is better sent whole. */
const COST_MAX = 2;
/** Of one census; the next finds others. */
export const COSTLY_BLOCKS_MAX = 4096;

/** Tells by what a segment's records came to in all how many grains one of them holds: the map keeps what a record shows, not what it holds. */
export class GrainEstimate {
  readonly #expansion = new Map<string, number>();

  constructor({ segments, replacements }: Pick<ChainReading, 'segments' | 'replacements'>) {
    const entries = [...segments, ...replacements.flatMap(({ by }) => by)];
    for (const { sha256, sizeBytes, footerBytes, recordCount, plainBytes } of entries) {
      const payloadBytes = sizeBytes - footerBytes - recordCount * (RECORD_HEADER_BYTES + TAG_BYTES);
      this.#expansion.set(sha256, payloadBytes > 0 ? plainBytes / payloadBytes : 1);
    }
  }

  /** At least what it shows. */
  grainsOf(segment: string, lengthBytes: number, shown: number): number {
    const stored = lengthBytes - RECORD_HEADER_BYTES - TAG_BYTES;
    return Math.max(shown, Math.round((stored * (this.#expansion.get(segment) ?? 1)) / GRAIN_BYTES));
  }
}

/** The slots of a page whose records hold more than twice the grains that they show. */
export function* costlySlots(page: Page, estimate: GrainEstimate): Generator<number> {
  for (let index = 0; index < page.count;) {
    const slot = page.slots[index]!;
    let [held, shown] = [0, 0];
    for (; index < page.count && page.slots[index] === slot; index += 1) {
      const visible = grainCount(page.masks[index]!);
      shown += visible;
      held += estimate.grainsOf(page.segmentNames[page.segments[index]!]!, page.lengths[index]!, visible);
    }
    if (held > COST_MAX * shown) yield slot;
  }
}

/**
 * Notes the blocks that are to be sent whole: those that the census found costly between two kept positions, and that the newest position still shows so. Sent whole, what they cost
 * goes with the points that stand on the old records.
 */
export async function noteCostlyBlocks(
  upkeep: Upkeep,
  { reading, costly }: { readonly reading: ChainReading; readonly costly: readonly BlockPosition[] },
): Promise<void> {
  if (costly.length === 0) return;
  const newest = [...reading.kept].reduce((a, b) => (a > b ? a : b));
  const { ref } = reading.lineage.find((entry) => entry.ref.cycle === newest)!;
  const path = pathOf(reading.lineage, ref);
  const cycles = new Set(path.map(({ cycle }) => cycle));
  const indexes = reading.indexes.filter(({ lastCycle }) => cycles.has(lastCycle));
  const blocks = await standingOn(upkeep, reading, async () => {
    const stack = await openStretch(upkeep, reading, { head: ref, below: null, indexes, known: path });
    const estimate = new GrainEstimate(reading);
    const found: BlockPosition[] = [];
    for (const [page, { disk, slots }] of pagesOf(costly)) {
      upkeep.signal.throwIfAborted();
      const first = page % BLOCKS_OF_DISK;
      for (const slot of costlySlots(await stack.page(disk, first), estimate))
        if (slots.has(slot)) found.push({ disk, block: first * BLOCKS_PER_PAGE + slot });
    }
    return found;
  });
  if (blocks.length > 0) await upkeep.ledger.noteCostlyBlocks(upkeep.address, blocks);
}

const BLOCKS_OF_DISK = 2 ** 30;

function pagesOf(blocks: readonly BlockPosition[]): Map<number, { readonly disk: number; readonly slots: Set<number> }> {
  const pages = new Map<number, { readonly disk: number; readonly slots: Set<number> }>();
  for (const { disk, block } of blocks) {
    const name = disk * BLOCKS_OF_DISK + Math.floor(block / BLOCKS_PER_PAGE);
    let page = pages.get(name);
    if (page === undefined) pages.set(name, (page = { disk, slots: new Set() }));
    page.slots.add(block % BLOCKS_PER_PAGE);
  }
  return pages;
}
