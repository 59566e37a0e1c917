import type { ByteExtent } from './block-source.js';

/** Whether any two of the spans, or a span and one of the blocks (each `blockLength` long), share a place. Sorts `blockStarts`. */
export function overlaps(spans: readonly ByteExtent[], blockStarts: Float64Array, blockLength: number): boolean {
  blockStarts.sort();
  for (let index = 1; index < blockStarts.length; index += 1) {
    if (blockStarts[index]! - blockStarts[index - 1]! < blockLength) return true;
  }
  const inOrder = [...spans].sort((a, b) => a.offset - b.offset);
  return inOrder.some((span, index) => {
    const next = inOrder[index + 1];
    return (next !== undefined && span.offset + span.length > next.offset) || meetsBlock(span, blockStarts, blockLength);
  });
}

/** Whether the span and one of the blocks, ascending, share a place. */
export function meetsBlock({ offset, length }: ByteExtent, blockStarts: ArrayLike<number>, blockLength: number): boolean {
  let low = 0;
  let high = blockStarts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (blockStarts[middle]! + blockLength > offset) high = middle;
    else low = middle + 1;
  }
  return low < blockStarts.length && blockStarts[low]! < offset + length;
}

/** Which units of a file are taken, one bit each: tells at once when a second thing claims the same place. */
export class Claims {
  private readonly bits: Uint8Array;

  constructor(units: number) {
    this.bits = new Uint8Array(Math.ceil(units / 8));
  }

  /** False where one of the units, all inside the file, is taken already. */
  claim(first: number, count: number): boolean {
    for (let unit = first; unit < first + count; unit += 1) {
      const [index, bit] = [Math.floor(unit / 8), 1 << (unit % 8)];
      if ((this.bits[index]! & bit) !== 0) return false;
      this.bits[index]! |= bit;
    }
    return true;
  }
}
