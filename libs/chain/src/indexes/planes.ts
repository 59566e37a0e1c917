import { assert, KIB } from '#libs/kernel';
import { corrupt } from '../chain-errors.js';
import { FrameFault, ZstdFrames } from '../frames/zstd-frames.js';

const ZEROS = Buffer.alloc(64 * KIB);
/** zstd's own level: an index is written once and read often. */
const frames = new ZstdFrames(3);
/** Which half of 64 bits this machine keeps first. */
export const [LOW, HIGH] = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? [0, 1] : [1, 0];

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
      // Without a bigint for each: an old chain has thousands.
      const words = wordsOf(target);
      for (let index = 0; index < target.length; index += 1) {
        words[2 * index + LOW] = low[index]!;
        words[2 * index + HIGH] = high[index]!;
      }
      return target;
    }
    const { bytes } = this;
    const count = target.length;
    for (let plane = 0; plane < width; plane += 1) {
      const shift = (width - 1 - plane) * 8;
      const from = this.#at + plane * count;
      // Most planes are: what is small or hardly grows has nothing in its high bytes.
      if (isZero(bytes, from, count)) continue;
      for (let index = 0; index < count; index += 1) target[index]! |= bytes[from + index]! << shift;
    }
    this.#at += count * width;
    return target;
  }
}

function isZero(bytes: Buffer, at: number, length: number): boolean {
  return length <= ZEROS.length && bytes.compare(ZEROS, 0, length, at, at + length) === 0;
}

function halves(values: BigUint64Array): [Uint32Array, Uint32Array] {
  const words = wordsOf(values);
  const pick = (half: number): Uint32Array => Uint32Array.from(values, (_, index) => words[2 * index + half]!);
  return [pick(HIGH), pick(LOW)];
}

/** The halves of each, which {@link LOW} and {@link HIGH} tell apart: sums of thousands cost a bigint each otherwise. */
export function wordsOf(values: BigUint64Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
}

/** Planes as one frame. It lies in memory that the next call writes over. */
export function deflate(bytes: Uint8Array): Uint8Array {
  return frames.compress(bytes);
}

/** What planes were compressed from, at most so many bytes of it. */
export function inflate(stored: Uint8Array, bytesMax: number): Buffer {
  try {
    return frames.inflate(stored, Math.max(1, bytesMax));
  } catch (error) {
    if (!(error instanceof FrameFault)) throw error;
    throw corrupt('index.malformed', 'a part of an index does not decompress', {}, error);
  }
}
