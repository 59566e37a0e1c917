import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Extent } from '#libs/chain';
import { CodedError, SilentLogger, SystemClock } from '#libs/kernel';
import { BlockCache, LINE_BYTES } from './block-cache.js';
import { ServedDisk, type DiskContent } from './served-disk.js';

const LINES = 40;
const TAIL_BYTES = 512;

/** A disk in memory that counts how it is read, and can be made to fail or wait. */
class MemoryDisk implements DiskContent {
  readonly bytes = randomBytes(LINES * LINE_BYTES + TAIL_BYTES);
  readonly sizeBytes = this.bytes.length;
  readonly reads: { offset: number; length: number }[] = [];
  written: Extent[] = [{ offset: 0, length: this.bytes.length, zero: false }];
  failures: unknown[] = [];
  gate: Promise<void> = Promise.resolve();

  async read(offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
    this.reads.push({ offset, length });
    await this.gate;
    signal.throwIfAborted();
    if (this.failures.length > 0) throw this.failures.shift();
    return Buffer.from(this.bytes.subarray(offset, offset + length));
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    return this.written
      .map((extent) => {
        const start = Math.max(extent.offset, offset);
        return { offset: start, length: Math.min(extent.offset + extent.length, offset + length) - start, zero: extent.zero };
      })
      .filter((extent) => extent.length > 0);
  }
}

function serve(content: DiskContent, cacheBytes = 64 * LINE_BYTES) {
  const cache = new BlockCache(cacheBytes);
  const options = { content, cache: cache.openSpace(), clock: new SystemClock(), logger: new SilentLogger() };
  const disk = new ServedDisk({ ...options, retries: { attemptsMax: 3, firstDelayMs: 1, delayMaxMs: 2 } });
  return { cache, disk };
}

const unavailable = () => new CodedError('object.store-unavailable', 'unavailable', 'no store');

describe('a served disk', () => {
  it('gives any range as it is, across lines and at the very end', async () => {
    const content = new MemoryDisk();
    const { disk } = serve(content);
    for (const [offset, length] of [
      [0, 1],
      [LINE_BYTES - 1, 2],
      [5, 3 * LINE_BYTES],
      [content.sizeBytes - TAIL_BYTES, TAIL_BYTES],
      [content.sizeBytes - LINE_BYTES, LINE_BYTES],
      [0, content.sizeBytes],
    ] as const) {
      const bytes = await disk.read(offset, length);
      expect(Buffer.compare(bytes, content.bytes.subarray(offset, offset + length))).toBe(0);
    }
  });

  it('reads a line once, however many want it at the same time or later', async () => {
    const content = new MemoryDisk();
    let open = (): void => {};
    content.gate = new Promise((resolve) => (open = resolve));
    const { disk } = serve(content);
    const readers = [0, 4096, 8192, 60_000].map((offset) => disk.read(20 * LINE_BYTES + offset, 512));
    await Promise.resolve();
    open();
    await Promise.all(readers);
    await disk.read(20 * LINE_BYTES, LINE_BYTES);
    expect(content.reads).toEqual([{ offset: 20 * LINE_BYTES, length: LINE_BYTES }]);
  });

  it('reads neighbours together and only what is missing', async () => {
    const content = new MemoryDisk();
    const { disk } = serve(content);
    await disk.read(12 * LINE_BYTES, 1);
    await disk.read(10 * LINE_BYTES, 5 * LINE_BYTES);
    expect(content.reads.map(({ offset, length }) => [offset / LINE_BYTES, length / LINE_BYTES])).toEqual([
      [12, 1],
      [10, 2],
      [13, 2],
    ]);
  });

  it('reads ahead of who reads in order, and not of who jumps', async () => {
    const content = new MemoryDisk();
    const { disk } = serve(content);
    for (const line of [30, 3, 21, 9, 15]) await disk.read(line * LINE_BYTES, LINE_BYTES);
    expect(content.reads).toHaveLength(5);
    const sequential = new MemoryDisk();
    const { disk: other } = serve(sequential);
    for (let line = 0; line < LINES; line += 1) await other.read(line * LINE_BYTES, LINE_BYTES);
    expect(sequential.reads.length).toBeLessThan(LINES / 2);
  });

  it('asks nobody for what was never written or is zero', async () => {
    const content = new MemoryDisk();
    content.written = [{ offset: 2 * LINE_BYTES, length: LINE_BYTES, zero: true }];
    const { disk, cache } = serve(content);
    expect(Buffer.from(await disk.read(0, 4 * LINE_BYTES)).every((byte) => byte === 0)).toBe(true);
    expect(content.reads).toEqual([]);
    expect(cache.heldBytes).toBeLessThan(4096);
  });

  it('tells holes so that no byte is left out', async () => {
    const content = new MemoryDisk();
    content.written = [
      { offset: 4096, length: 4096, zero: false },
      { offset: 8192, length: 4096, zero: true },
    ];
    expect(await serve(content).disk.extents(0, 20_000)).toEqual([
      { offset: 0, length: 4096, zero: true },
      { offset: 4096, length: 4096, zero: false },
      { offset: 8192, length: 4096, zero: true },
      { offset: 12_288, length: 7712, zero: true },
    ]);
  });

  it('waits for a store that comes back, and fails the read of one that does not', async () => {
    const content = new MemoryDisk();
    content.failures = [unavailable(), unavailable()];
    const { disk } = serve(content);
    expect(await disk.read(0, 4)).toEqual(content.bytes.subarray(0, 4));
    content.failures = [unavailable(), unavailable(), unavailable()];
    await expect(disk.read(9 * LINE_BYTES, 4)).rejects.toMatchObject({ code: 'object.store-unavailable' });
    expect(await disk.read(9 * LINE_BYTES, 4)).toEqual(content.bytes.subarray(9 * LINE_BYTES, 9 * LINE_BYTES + 4));
  });

  it('does not try again what is corrupt', async () => {
    const content = new MemoryDisk();
    content.failures = [new CodedError('record.tag-mismatch', 'corrupt', 'forged')];
    await expect(serve(content).disk.read(0, 4)).rejects.toMatchObject({ code: 'record.tag-mismatch' });
    expect(content.reads).toHaveLength(1);
  });

  it('gives its memory back when closed', async () => {
    const { disk, cache } = serve(new MemoryDisk());
    await disk.read(0, 8 * LINE_BYTES);
    expect(cache.heldBytes).toBeGreaterThan(8 * LINE_BYTES);
    disk.close();
    expect(cache.heldBytes).toBe(0);
  });
});

describe('a block cache', () => {
  it('stays within its bytes, and lets go of what was not used for longest', () => {
    const cache = new BlockCache(3 * (LINE_BYTES + 128));
    const [one, two] = [cache.openSpace(), cache.openSpace()];
    one.put(0, Buffer.alloc(LINE_BYTES, 1));
    two.put(0, Buffer.alloc(LINE_BYTES, 2));
    one.put(1, Buffer.alloc(LINE_BYTES, 3));
    expect(one.get(0)?.[0]).toBe(1);
    two.put(7, Buffer.alloc(LINE_BYTES, 4));
    expect(two.has(0)).toBe(false);
    expect([one.has(0), one.has(1), two.has(7)]).toEqual([true, true, true]);
    expect(cache.heldBytes).toBe(3 * (LINE_BYTES + 128));
    one.close();
    expect([one.has(0), two.has(7)]).toEqual([false, true]);
  });
});
