import fc from 'fast-check';
import { expect } from 'vitest';
import { CodedError, MIB, SystemClock } from '#libs/kernel';
import type { BlockSource, RandomAccessSource } from '../source/block-source.js';
import { MemoryDisk } from './memory-disk.js';

const clock = new SystemClock();

interface Mutation {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** Overwrites of 1 to 8 bytes in the given parts of a file, also by values that hurt: zeros, ones, powers of two. */
export function mutationsOf(parts: ReadonlyArray<readonly [offset: number, length: number]>): fc.Arbitrary<Mutation[]> {
  const place = fc.constantFrom(...parts).chain(([offset, length]) => fc.integer({ min: offset, max: offset + length - 8 }));
  const power = fc.integer({ min: 0, max: 63 }).map((bit) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(1n << BigInt(bit));
    return bytes;
  });
  const bytes = fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 8 }), power, fc.constantFrom(Buffer.alloc(8), Buffer.alloc(8, 0xff)));
  return fc.array(fc.record({ at: place, bytes }), { minLength: 1, maxLength: 6 });
}

export function mutate(file: Buffer, mutations: readonly Mutation[]): Buffer {
  const mutated = Buffer.from(file);
  for (const { at, bytes } of mutations) mutated.set(bytes, at);
  return mutated;
}

/** As the source is asked for no more than this at once and in all, no hostile file makes its reader hold more. */
const READ_BYTES_MAX = 16 * MIB;
const READ_TOTAL_BYTES_MAX = 64 * MIB;

class MeteredDisk extends MemoryDisk {
  private totalBytes = 0;

  override async read(offset: number, length: number): Promise<Uint8Array> {
    this.totalBytes += length;
    expect(length).toBeLessThanOrEqual(READ_BYTES_MAX);
    expect(this.totalBytes).toBeLessThanOrEqual(READ_TOTAL_BYTES_MAX);
    return super.read(offset, length);
  }
}

let worstMs = 0;

/** How long the worst of the files tried so far has taken. */
export const slowestMs = (): number => worstMs;

/** A broken file either opens and can be read, or is refused with a code of its format; both soon. */
export async function expectTypedOrReadable(
  file: Buffer,
  format: 'vhd' | 'vhdx' | 'qcow2',
  open: (source: RandomAccessSource) => Promise<BlockSource>,
): Promise<void> {
  const startMs = clock.monotonicMs();
  try {
    const disk = await open(new MeteredDisk(file));
    const length = Math.min(disk.sizeBytes, 65_536);
    await disk.read(0, length);
    await disk.read(disk.sizeBytes - length, length);
    await disk.extents(0, length);
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    expect(error.code).toMatch(new RegExp(`^${format}\\.[a-z-]+$`));
    expect(error.kind).toBe('invalid');
  }
  const elapsedMs = clock.monotonicMs() - startMs;
  // Twenty times what it should take at most: other tests run beside this one.
  expect(elapsedMs).toBeLessThan(1000);
  worstMs = Math.max(worstMs, elapsedMs);
}
