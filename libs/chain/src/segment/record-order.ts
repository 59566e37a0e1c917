import type { RecordHeader } from '../record-header.js';
import { comparePositions, type BlockPosition } from './segment-summary.js';

/** What of a record its place among others depends on. */
type Placed = Pick<RecordHeader, 'disk' | 'block' | 'count' | 'cycle'>;

/**
 * The order of records in a segment: ascending by (disk, block), and at one place from the newest cycle to the oldest. Records of one cycle never overlap;
 * those of several, as compaction brings them together, may.
 */
export class RecordOrder {
  /** The last block that any record covers; null before the first. */
  end: BlockPosition | null = null;
  #last: Placed | null = null;
  /** Where the longest zero run so far of each cycle ends: nothing else reaches past its own block. */
  readonly #runEnds = new Map<bigint, BlockPosition>();

  /** Takes the next record, or says that it can't follow. */
  take(record: Placed): boolean {
    const { disk, block, count, cycle } = record;
    if (this.#last !== null) {
      const step = comparePositions(this.#last, record);
      if (step > 0 || (step === 0 && cycle >= this.#last.cycle)) return false;
    }
    const runEnd = this.#runEnds.size === 0 ? undefined : this.#runEnds.get(cycle);
    if (runEnd !== undefined && comparePositions(runEnd, record) >= 0) return false;
    const end = { disk, block: block + count - 1 };
    if (count > 1) this.#runEnds.set(cycle, end);
    if (this.end === null || comparePositions(this.end, end) < 0) this.end = end;
    this.#last = record;
    return true;
  }
}
