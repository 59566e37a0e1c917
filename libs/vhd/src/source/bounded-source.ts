import { CodedError } from '#libs/kernel';
import type { RandomAccessSource } from './block-source.js';

const CODE_OF_TRUNCATION = { vhd: 'vhd.truncated', vhdx: 'vhdx.truncated', qcow2: 'qcow2.truncated' } as const;

/** A stranger's file: what points outside it ends in `vhd.truncated`, `vhdx.truncated` or `qcow2.truncated`. */
export class BoundedSource {
  readonly sizeBytes: number;

  constructor(
    private readonly source: RandomAccessSource,
    private readonly format: keyof typeof CODE_OF_TRUNCATION,
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
