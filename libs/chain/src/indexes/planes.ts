import { constants, zstdDecompressSync } from 'node:zlib';
import { assert } from '#libs/kernel';
import { corrupt } from '../chain-errors.js';

/** What a frame may ask its reader to keep while it is decompressed: 4 MiB. */
const WINDOW_LOG_MAX = 22;

type Column = Uint16Array | Uint32Array | BigUint64Array;

/** Columns of numbers as planes: the highest byte of every number, then the next one, and so on. What hardly changes compresses to nothing. */
export class PlaneWriter {
  readonly bytes: Buffer;
  #at = 0;

  constructor(sizeBytes: number) {
    this.bytes = Buffer.alloc(sizeBytes);
  }

  uint32(value: number): void {
    this.#at = this.bytes.writeUInt32BE(value, this.#at);
  }

  hash(sha256: string): void {
    this.#at += this.bytes.write(sha256, this.#at, 'hex');
  }

  column(values: Column, width: number): void {
    const { bytes } = this;
    const at = this.#at;
    const count = values.length;
    assert(at + count * width <= bytes.length, 'the size was reckoned beforehand');
    if (values instanceof BigUint64Array) {
      const [high, low] = halves(values);
      this.column(high, 4);
      this.column(low, 4);
      return;
    }
    for (let plane = 0; plane < width; plane += 1) {
      const shift = (width - 1 - plane) * 8;
      const from = at + plane * count;
      for (let index = 0; index < count; index += 1) bytes[from + index] = values[index]! >>> shift;
    }
    this.#at = at + count * width;
  }
}

/** Reads what {@link PlaneWriter} wrote. {@link expect} must have seen that it is all there. */
export class PlaneReader {
  #at = 0;

  constructor(private readonly bytes: Buffer) {}

  /** `index.malformed` unless exactly so much is left. */
  expect(sizeBytes: number): void {
    if (this.bytes.length - this.#at !== sizeBytes) throw corrupt('index.malformed', 'a part of an index is not as long as it says');
  }

  uint32(): number {
    if (this.#at + 4 > this.bytes.length) throw corrupt('index.malformed', 'a part of an index is too short');
    this.#at += 4;
    return this.bytes.readUInt32BE(this.#at - 4);
  }

  hash(): string {
    this.#at += 32;
    return this.bytes.toString('hex', this.#at - 32, this.#at);
  }

  column<T extends Column>(target: T, width: number): T {
    if (target instanceof BigUint64Array) {
      const high = this.column(new Uint32Array(target.length), 4);
      const low = this.column(new Uint32Array(target.length), 4);
      for (let index = 0; index < target.length; index += 1) target[index] = (BigInt(high[index]!) << 32n) | BigInt(low[index]!);
      return target;
    }
    const { bytes } = this;
    const count = target.length;
    for (let plane = 0; plane < width; plane += 1) {
      const shift = (width - 1 - plane) * 8;
      const from = this.#at + plane * count;
      for (let index = 0; index < count; index += 1) target[index]! |= bytes[from + index]! << shift;
    }
    this.#at += count * width;
    return target;
  }
}

function halves(values: BigUint64Array): [Uint32Array, Uint32Array] {
  const high = new Uint32Array(values.length);
  const low = new Uint32Array(values.length);
  for (let index = 0; index < values.length; index += 1) {
    high[index] = Number(values[index]! >> 32n);
    low[index] = Number(values[index]! & 0xffff_ffffn);
  }
  return [high, low];
}

/** What planes were compressed from, at most so many bytes of it. */
export function inflate(stored: Uint8Array, bytesMax: number): Buffer {
  try {
    const params = { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX };
    return zstdDecompressSync(stored, { maxOutputLength: Math.max(1, bytesMax), params });
  } catch (error) {
    throw corrupt('index.malformed', 'a part of an index does not decompress', {}, error);
  }
}
