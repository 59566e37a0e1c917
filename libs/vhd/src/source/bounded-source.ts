import { CodedError } from '#libs/kernel';
import type { RandomAccessSource } from './block-source.js';

const CODE_OF_TRUNCATION = { vhd: 'vhd.truncated', vhdx: 'vhdx.truncated' } as const;

/** A stranger's file: what points outside it ends in `vhd.truncated` or `vhdx.truncated`. */
export class BoundedSource {
  readonly sizeBytes: number;

  constructor(
    private readonly source: RandomAccessSource,
    private readonly format: 'vhd' | 'vhdx',
  ) {
    this.sizeBytes = source.sizeBytes;
  }

  async read(offset: number | null, length: number): Promise<Buffer> {
    if (offset === null || offset < 0 || offset + length > this.sizeBytes) throw this.truncated();
    const bytes = await this.source.read(offset, length);
    if (bytes.byteLength !== length) throw this.truncated();
    return Buffer.from(bytes.buffer, bytes.byteOffset, length);
  }

  truncated(): CodedError {
    return new CodedError(CODE_OF_TRUNCATION[this.format], 'invalid', `the ${this.format.toUpperCase()} points beyond its end`);
  }
}

/** Whether any two of the spans, or a span and one of the blocks (each `blockLength` long), share a place. Sorts `blockStarts`. */
export function overlaps(
  spans: ReadonlyArray<{ offset: number; length: number }>,
  blockStarts: Float64Array,
  blockLength: number,
): boolean {
  blockStarts.sort();
  for (let index = 1; index < blockStarts.length; index += 1) {
    if (blockStarts[index]! - blockStarts[index - 1]! < blockLength) return true;
  }
  const inOrder = [...spans].sort((a, b) => a.offset - b.offset);
  return inOrder.some((span, index) => {
    const next = inOrder[index + 1];
    if (next !== undefined && span.offset + span.length > next.offset) return true;
    const candidate = blockStarts[firstEndingAfter(blockStarts, blockLength, span.offset)];
    return candidate !== undefined && candidate < span.offset + span.length;
  });
}

function firstEndingAfter(starts: Float64Array, length: number, position: number): number {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (starts[middle]! + length > position) high = middle;
    else low = middle + 1;
  }
  return low;
}
