import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GIB, MIB } from '#libs/kernel';
import { dataExtents, type BlockSource, type DiskExtent } from '../source/block-source.js';
import { saveImage, streamImage } from './disk-image.js';
import { rawImage } from './raw-image.js';
import { fileOf, MemoryDisk } from '../testing/memory-disk.js';

describe('disk images', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-image-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  const bytes = Buffer.alloc(9 * MIB + 100);
  randomBytes(2 * MIB + 5).copy(bytes, 3 * MIB - 7);
  randomBytes(50).copy(bytes, bytes.byteLength - 50);

  it('are the same saved and streamed, and holes where the disk is zero', async () => {
    const image = rawImage(new MemoryDisk(bytes));
    const path = join(directory, 'disk.raw');
    const progress: number[] = [];
    await saveImage(image, path, { onProgress: (until) => progress.push(until) });
    expect((await readFile(path)).equals(bytes)).toBe(true);
    expect((await fileOf(image)).equals(bytes)).toBe(true);
    expect((await stat(path)).blocks * 512).toBeLessThan(2.1 * MIB);
    expect(progress).toEqual(progress.toSorted((a, b) => a - b));
    expect(progress.at(-1)).toBe(bytes.byteLength);
  });

  it('end with the zeros of a disk that ends with zeros', async () => {
    const path = join(directory, 'zeros.raw');
    await saveImage(rawImage(new MemoryDisk(Buffer.alloc(5 * MIB))), path);
    expect((await stat(path)).size).toBe(5 * MIB);
  });

  it('never overwrite a file', async () => {
    const path = join(directory, 'disk.raw');
    await saveImage(rawImage(new MemoryDisk(bytes)), path);
    await expect(saveImage(rawImage(new MemoryDisk(bytes)), path)).rejects.toMatchObject({ code: 'disk-image.exists' });
    expect((await stat(path)).size).toBe(bytes.byteLength);
  });

  it('leave nothing where the disk cannot be read, or the caller has enough', async () => {
    const failing: BlockSource = {
      sizeBytes: 10 * MIB,
      extents: async () => [{ offset: 0, length: 10 * MIB, zero: false }],
      read: async (offset, length) => {
        if (offset >= 6 * MIB) throw new Error('the store is gone');
        return Buffer.alloc(length, 1);
      },
    };
    await expect(saveImage(rawImage(failing), join(directory, 'a'))).rejects.toThrow('the store is gone');
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(saveImage(rawImage(new MemoryDisk(bytes)), join(directory, 'b'), { signal })).rejects.toThrow('enough');
    expect(await readdir(directory)).toEqual([]);
  });

  it('hold few pieces at a time, however long the disk', async () => {
    let reading = 0;
    let readingMax = 0;
    const disk: BlockSource = {
      sizeBytes: 64 * MIB,
      extents: async (offset, length) => [{ offset, length, zero: false }],
      read: async (_offset, length) => {
        readingMax = Math.max(readingMax, (reading += 1));
        await new Promise(setImmediate);
        reading -= 1;
        return Buffer.alloc(length, 1);
      },
    };
    let pieceBytesMax = 0;
    for await (const piece of streamImage(rawImage(disk))) pieceBytesMax = Math.max(pieceBytesMax, piece.byteLength);
    expect(readingMax).toBeLessThanOrEqual(4);
    expect(pieceBytesMax).toBe(MIB);
  });
});

describe('dataExtents', () => {
  const disk = (extents: DiskExtent[]): BlockSource => ({
    sizeBytes: GIB,
    read: async (_offset, length) => Buffer.alloc(length),
    extents: async () => extents,
  });
  const found = async (extents: DiskExtent[], offset?: number, length?: number) => {
    const data: Array<[number, number]> = [];
    for await (const extent of dataExtents(disk(extents), offset, length)) data.push([extent.offset, extent.length]);
    return data;
  };

  it('joins neighbours, leaves zeros out and cuts to the range', async () => {
    const extents = [
      { offset: 0, length: 4096, zero: false },
      { offset: 4096, length: 4096, zero: false },
      { offset: 8192, length: 4096, zero: true },
      { offset: 12_288, length: 4096, zero: false },
    ];
    expect(await found(extents, 0, MIB)).toEqual([
      [0, 8192],
      [12_288, 4096],
    ]);
    expect(await found(extents, 1000, 12_000)).toEqual([
      [1000, 7192],
      [12_288, 712],
    ]);
  });

  it('cuts an extent longer than what is asked at once', async () => {
    const data = await found([{ offset: 0, length: GIB, zero: false }]);
    expect(data.reduce((sum, [, length]) => sum + length, 0)).toBe(GIB);
    expect(data.length).toBeGreaterThan(1);
  });
});
