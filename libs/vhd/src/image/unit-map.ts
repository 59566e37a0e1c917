import { dataExtents, type BlockSource, type ByteExtent } from '../source/block-source.js';

export interface UnitRun {
  readonly unit: number;
  /** How many units that the file holds lie before this run. */
  readonly rank: number;
  readonly count: number;
}

/**
 * Which units of a disk (blocks, clusters, tables) a file holds, ascending: each has a rank, by which its place in the file is known. Kept as
 * runs, so that memory follows how scattered the disk's data is, and not how large it is.
 */
export class UnitMap {
  private readonly starts: number[] = [];
  /** Of each run's first unit. */
  private readonly ranks: number[] = [];
  private total = 0;

  /** Every unit of `unitBytes` in which the disk has data. */
  static async ofData(source: BlockSource, unitBytes: number): Promise<UnitMap> {
    const map = new UnitMap();
    for await (const extent of dataExtents(source)) map.addExtent(extent, unitBytes);
    return map;
  }

  static ofExtents(extents: Iterable<ByteExtent>, unitBytes: number): UnitMap {
    const map = new UnitMap();
    for (const extent of extents) map.addExtent(extent, unitBytes);
    return map;
  }

  /** The units `0 … count - 1`. */
  static whole(count: number): UnitMap {
    const map = new UnitMap();
    map.add(0, count);
    return map;
  }

  get size(): number {
    return this.total;
  }

  /** Adds `count` units; those that are there already may be named again, earlier ones not. */
  add(unit: number, count = 1): void {
    const last = this.starts.length - 1;
    const end = last < 0 ? -1 : this.starts[last]! + this.total - this.ranks[last]!;
    const first = Math.max(unit, end);
    const added = unit + count - first;
    if (added <= 0) return;
    if (first !== end) {
      this.starts.push(first);
      this.ranks.push(this.total);
    }
    this.total += added;
  }

  /** Null where the file does not hold the unit. */
  rankOf(unit: number): number | null {
    const run = lastNotAbove(this.starts, unit);
    if (run < 0) return null;
    const rank = this.ranks[run]! + unit - this.starts[run]!;
    return rank < this.endRank(run) ? rank : null;
  }

  /** Those with ranks in `[from, until)`. */
  *runsByRank(from: number, until: number): Iterable<UnitRun> {
    for (let run = Math.max(0, lastNotAbove(this.ranks, from)); run < this.starts.length && this.ranks[run]! < until; run += 1) {
      const rank = Math.max(from, this.ranks[run]!);
      const count = Math.min(until, this.endRank(run)) - rank;
      if (count > 0) yield { unit: this.starts[run]! + rank - this.ranks[run]!, rank, count };
    }
  }

  /** Those with units in `[from, until)`. */
  *runsByUnit(from: number, until: number): Iterable<UnitRun> {
    for (let run = Math.max(0, lastNotAbove(this.starts, from)); run < this.starts.length && this.starts[run]! < until; run += 1) {
      const start = this.starts[run]!;
      const unit = Math.max(from, start);
      const count = Math.min(until, start + this.endRank(run) - this.ranks[run]!) - unit;
      if (count > 0) yield { unit, rank: this.ranks[run]! + unit - start, count };
    }
  }

  private endRank(run: number): number {
    return this.ranks[run + 1] ?? this.total;
  }

  private addExtent({ offset, length }: ByteExtent, unitBytes: number): void {
    const first = Math.floor(offset / unitBytes);
    this.add(first, Math.ceil((offset + length) / unitBytes) - first);
  }
}

/** The index of the last of the ascending values that is at most `value`; -1 where none is. */
export function lastNotAbove(ascending: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
