import { assert } from '#libs/kernel';
import type { ByteExtent } from '../source/block-source.js';
import { lastNotAbove } from './unit-map.js';

/** What changed between a parent and a child: ascending, disjoint, whole sectors, inside the disk. Found by place. */
export class Changes {
  private readonly offsets: Float64Array;

  constructor(
    readonly all: readonly ByteExtent[],
    sizeBytes: number,
    sectorBytes: number,
  ) {
    let end = 0;
    for (const { offset, length } of all) {
      const isSectors = offset % sectorBytes === 0 && length % sectorBytes === 0 && length > 0;
      assert(
        isSectors && offset >= end && offset + length <= sizeBytes,
        'changes are ascending, disjoint, whole sectors and inside the disk',
      );
      end = offset + length;
    }
    this.offsets = Float64Array.from(all, ({ offset }) => offset);
  }

  /** Cut to `[from, until)`. */
  *within(from: number, until: number): Iterable<ByteExtent> {
    for (let index = Math.max(0, lastNotAbove(this.offsets, from)); index < this.all.length; index += 1) {
      const { offset, length } = this.all[index]!;
      if (offset >= until) return;
      const start = Math.max(from, offset);
      const end = Math.min(until, offset + length);
      if (start < end) yield { offset: start, length: end - start };
    }
  }

  /** Whether nothing of `[from, until)` is left as it was. */
  cover(from: number, until: number): boolean {
    let end = from;
    for (const { offset, length } of this.within(from, until)) {
      if (offset !== end) return false;
      end += length;
    }
    return end === until;
  }
}
