import { FULL_MASK, GRAINS_PER_BLOCK } from '../limits.js';

export interface GrainRange {
  readonly from: number;
  /** Exclusive. */
  readonly to: number;
}

/** Past every disk. */
export const GRAINS_END = Number.MAX_SAFE_INTEGER;

/** A set of grains of one disk, kept as ascending ranges that do not touch. */
export class GrainRanges {
  #ranges: GrainRange[] = [];

  /** Adds ranges that ascend among themselves. */
  add(added: readonly GrainRange[]): void {
    if (added.every((range) => this.#holds(range))) return;
    const merged: { from: number; to: number }[] = [];
    let left = 0;
    let right = 0;
    while (left < this.#ranges.length || right < added.length) {
      const isLeftNext = right >= added.length || (left < this.#ranges.length && this.#ranges[left]!.from <= added[right]!.from);
      const { from, to } = isLeftNext ? this.#ranges[left++]! : added[right++]!;
      const last = merged.at(-1);
      if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to);
      else merged.push({ from, to });
    }
    this.#ranges = merged;
  }

  /** Which grains of a block are in the set. */
  maskOf(block: number): number {
    const start = block * GRAINS_PER_BLOCK;
    let mask = 0;
    for (const { from, to } of this.within(start, start + GRAINS_PER_BLOCK)) {
      mask |= (FULL_MASK >> (GRAINS_PER_BLOCK - (to - from))) << (from - start);
    }
    return mask;
  }

  /** The parts of the set within a stretch, ascending. */
  *within(from: number, to: number): Generator<GrainRange> {
    if (from >= to) return;
    for (let index = this.#firstEndingAfter(from); index < this.#ranges.length; index += 1) {
      const range = this.#ranges[index]!;
      if (range.from >= to) return;
      yield { from: Math.max(range.from, from), to: Math.min(range.to, to) };
    }
  }

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  #holds({ from, to }: GrainRange): boolean {
    const range = this.#ranges[this.#firstEndingAfter(from)];
    return range !== undefined && range.from <= from && to <= range.to;
  }

  #firstEndingAfter(grain: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ranges[middle]!.to > grain) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
