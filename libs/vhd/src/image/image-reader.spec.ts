import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { count } from '../../../../test/support/counts.js';
import { GIB, MIB, TIB } from '#libs/kernel';
import { qcow2Image } from '../qcow2/qcow2-image.js';
import type { BlockSource } from '../source/block-source.js';
import { fileOf, MemoryDisk } from '../testing/memory-disk.js';
import { differencingVhdImage, dynamicVhdImage, fixedVhdImage } from '../vhd/vhd-image.js';
import { differencingVhdxImage, dynamicVhdxImage, fixedVhdxImage } from '../vhdx/vhdx-image.js';
import { imageReader, streamImage, type DiskImage } from './disk-image.js';
import { rawImage } from './raw-image.js';

const createdAt = new Date('2026-01-02T03:04:05Z');
const [id, parentId] = ['018f0000-0000-7000-8000-000000000001', '018f0000-0000-7000-8000-000000000002'];

const bytes = Buffer.alloc(13 * MIB + 1536);
randomBytes(70_000).copy(bytes, 1_500_000);
randomBytes(3 * MIB).copy(bytes, 6 * MIB + 4096);
randomBytes(512).copy(bytes, bytes.byteLength - 512);
const disk = new MemoryDisk(bytes);
const changes = [
  { offset: 512, length: 1024 },
  { offset: 2 * MIB, length: 2 * MIB },
  { offset: 7 * MIB - 512, length: 2 * MIB + 4096 },
  { offset: bytes.byteLength - 512, length: 512 },
];
const vhdParent = { uniqueId: parentId, createdAt, fileName: 'parent.vhd' };
const vhdxParent = { dataWriteId: parentId, fileName: 'parent.vhdx' };

const images: Array<[string, () => DiskImage | Promise<DiskImage>]> = [
  ['raw', () => rawImage(disk)],
  ['fixed VHD', () => fixedVhdImage(disk, createdAt, id)],
  ['dynamic VHD', () => dynamicVhdImage(disk, createdAt, id)],
  ['differencing VHD', () => differencingVhdImage(disk, changes, vhdParent, createdAt, id)],
  ['fixed VHDX', () => fixedVhdxImage(disk, { diskId: id, dataWriteId: id })],
  ['dynamic VHDX', () => dynamicVhdxImage(disk, { diskId: id, dataWriteId: id })],
  ['differencing VHDX', () => differencingVhdxImage(disk, changes, vhdxParent, { diskId: id, dataWriteId: id, blockBytes: MIB })],
  ['qcow2', () => qcow2Image(disk)],
  ['qcow2 in small clusters', () => qcow2Image(disk, { clusterBytes: 512 })],
  ['qcow2 in large clusters', () => qcow2Image(disk, { clusterBytes: 2 * MIB })],
];

describe.each(images)('a %s that is not written yet', (_name, make) => {
  it('gives any range as it lies in the stream, and is the same when planned again', async () => {
    const image = await make();
    const file = await fileOf(image);
    expect(file.byteLength).toBe(image.sizeBytes);
    expect((await fileOf(await make())).equals(file)).toBe(true);
    const reader = imageReader(image);
    const place = fc.oneof(
      fc.nat(file.byteLength),
      fc.nat(128 * 1024),
      fc.nat(8192).map((back) => file.byteLength - back),
    );
    await fc.assert(
      fc.asyncProperty(place, fc.oneof(fc.nat(600), fc.nat(3 * MIB)), async (from, wanted) => {
        const offset = Math.min(Math.max(0, from), file.byteLength);
        const length = Math.min(wanted, file.byteLength - offset);
        const want = file.subarray(offset, offset + length);
        expect(Buffer.from(await reader.read(offset, length)).equals(want)).toBe(true);
        const streamed: Uint8Array[] = [];
        for await (const piece of streamImage(image, { offset, length })) streamed.push(piece);
        expect(Buffer.concat(streamed).equals(want)).toBe(true);
      }),
      { numRuns: count(25, 1_000) },
    );
  });
});

describe('a large image', () => {
  const places = [0, 5 * GIB, 9 * TIB, 64 * TIB - MIB];
  const sparse = (sizeBytes: number, reads: number[] = []): BlockSource => ({
    sizeBytes,
    async read(offset, length) {
      reads.push(length);
      return Buffer.alloc(length, offset % 251);
    },
    extents: async (offset, length) =>
      places.filter((at) => at < offset + length && at + MIB > offset).map((at) => ({ offset: at, length: MIB, zero: false })),
  });

  it('is read at its far end without reading what lies before', async () => {
    const reads: number[] = [];
    const source = sparse(64 * TIB, reads);
    for (const image of [rawImage(source), await dynamicVhdxImage(source), fixedVhdxImage(source), await qcow2Image(source)]) {
      reads.length = 0;
      const reader = imageReader(image);
      await reader.read(image.sizeBytes - 512, 512);
      await reader.read(image.sizeBytes - MIB, 512);
      await reader.read(0, 4096);
      expect(reads.reduce((sum, length) => sum + length, 0)).toBeLessThanOrEqual(3 * MIB);
    }
  }, 60_000);
});
