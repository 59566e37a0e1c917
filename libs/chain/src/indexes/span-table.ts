import { BLOCKS_PER_DISK_MAX } from '../limits.js';
import { comparePositions, type BlockPosition } from '../segment/segment-summary.js';

/** A place in a chain as one number that sorts as places do. */
export function placeOf(disk: number, block: number): number {
  return disk * BLOCKS_PER_DISK_MAX + block;
}

/** What covers some blocks, both ends included. */
export interface Span {
  readonly first: BlockPosition;
  readonly last: BlockPosition;
}

/** Finds what touches a stretch of blocks among many spans, which may overlap. */
export class SpanTable<T extends Span> {
  readonly #spans: readonly T[];
  readonly #firsts: Float64Array;
  readonly #lasts: Float64Array;
  /** How far any span up to this one reaches: nothing before a small reach can touch a later stretch. */
  readonly #reaches: Float64Array;

  constructor(spans: readonly T[]) {
    this.#spans = [...spans].sort((a, b) => placeOf(a.first.disk, a.first.block) - placeOf(b.first.disk, b.first.block));
    this.#firsts = Float64Array.from(this.#spans, ({ first }) => placeOf(first.disk, first.block));
    this.#lasts = Float64Array.from(this.#spans, ({ last }) => placeOf(last.disk, last.block));
    let reach = -1;
    this.#reaches = this.#lasts.map((last) => (reach = Math.max(reach, last)));
  }

  get count(): number {
    return this.#spans.length;
  }

  /** From the first block of any to the last one; null when there are none. */
  get hull(): Span | null {
    if (this.#spans.length === 0) return null;
    const last = this.#spans.reduce((reach, span) => (comparePositions(reach.last, span.last) < 0 ? span : reach));
    return { first: this.#spans[0]!.first, last: last.last };
  }

  /** Ascending by their first block. `to` is exclusive. */
  *touching(from: number, to: number): Generator<{ readonly span: T; readonly first: number }> {
    let low = 0;
    let high = this.#spans.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#reaches[middle]! >= from) high = middle;
      else low = middle + 1;
    }
    for (let index = low; index < this.#spans.length && this.#firsts[index]! < to; index += 1) {
      if (this.#lasts[index]! >= from) yield { span: this.#spans[index]!, first: this.#firsts[index]! };
    }
  }
}
