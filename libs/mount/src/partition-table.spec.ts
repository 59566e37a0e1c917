import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { KIB, MIB } from '#libs/kernel';
import type { DiskSource } from './disk-source.js';
import { findFileSystem } from './file-system.js';
import { readPartitions } from './partition-table.js';

const SECTOR = 512;

function diskOf(bytes: Buffer): DiskSource & { reads: number } {
  return {
    sizeBytes: bytes.length,
    reads: 0,
    async read(offset, length) {
      this.reads += 1;
      return bytes.subarray(offset, offset + length);
    },
  };
}

function mbr(bytes: Buffer, at: number, entries: readonly (readonly [type: number, first: number, count: number])[]): void {
  for (const [index, [type, first, count]] of entries.entries()) {
    const entry = at * SECTOR + 446 + 16 * index;
    bytes[entry + 4] = type;
    bytes.writeUInt32LE(first, entry + 8);
    bytes.writeUInt32LE(count, entry + 12);
  }
  bytes.writeUInt16LE(0xaa55, at * SECTOR + 510);
}

describe('partitions', () => {
  it('are found in an MBR, logical ones too', async () => {
    const bytes = Buffer.alloc(MIB);
    mbr(bytes, 0, [
      [0x83, 8, 100],
      [0x05, 200, 400],
    ]);
    mbr(bytes, 200, [
      [0x83, 2, 50],
      [0x05, 100, 60],
    ]);
    mbr(bytes, 300, [[0x82, 2, 20]]);
    expect(await readPartitions(diskOf(bytes))).toEqual([
      { number: 1, offset: 8 * SECTOR, length: 100 * SECTOR },
      { number: 5, offset: 202 * SECTOR, length: 50 * SECTOR },
      { number: 6, offset: 302 * SECTOR, length: 20 * SECTOR },
    ]);
  });

  it('are found in a GPT, by the numbers that they have', async () => {
    const bytes = Buffer.alloc(MIB);
    mbr(bytes, 0, [[0xee, 1, 2047]]);
    bytes.write('EFI PART', SECTOR, 'latin1');
    bytes.writeBigUInt64LE(2n, SECTOR + 72);
    bytes.writeUInt32LE(128, SECTOR + 80);
    bytes.writeUInt32LE(128, SECTOR + 84);
    const entry = 2 * SECTOR + 128;
    bytes.fill(7, entry, entry + 16);
    bytes.writeBigUInt64LE(64n, entry + 32);
    bytes.writeBigUInt64LE(127n, entry + 40);
    expect(await readPartitions(diskOf(bytes))).toEqual([{ number: 2, offset: 64 * SECTOR, length: 64 * SECTOR }]);
  });

  it('are none where a file system or nothing begins the disk', async () => {
    expect(await readPartitions(diskOf(Buffer.alloc(MIB)))).toEqual([]);
    expect(await readPartitions(diskOf(Buffer.alloc(100)))).toEqual([]);
    const fat = Buffer.alloc(MIB);
    fat.write('FAT16', 54, 'latin1');
    fat.writeUInt16LE(0xaa55, 510);
    expect(await readPartitions(diskOf(fat))).toEqual([]);
  });

  it('lie inside the disk, and a table that leads in circles comes to its end', async () => {
    const bytes = Buffer.alloc(MIB);
    mbr(bytes, 0, [
      [0x83, 1000, 1_000_000],
      [0x05, 200, 400],
    ]);
    mbr(bytes, 200, [
      [0x83, 1, 5],
      [0x05, 0, 60],
    ]);
    const disk = diskOf(bytes);
    expect(await readPartitions(disk)).toEqual([{ number: 5, offset: 201 * SECTOR, length: 5 * SECTOR }]);
    expect(disk.reads).toBeLessThan(4);
  });

  it('of noise are few and inside, and never an accident', async () => {
    for (let round = 0; round < 200; round += 1) {
      const bytes = randomBytes(64 * KIB);
      bytes.writeUInt16LE(0xaa55, 510);
      if (round % 2 === 0) {
        bytes[446 + 4] = 0xee;
        bytes.write('EFI PART', SECTOR, 'latin1');
        bytes.writeBigUInt64LE(BigInt(round % 5), SECTOR + 72);
        bytes.writeUInt32LE(128, SECTOR + 84);
      }
      for (const { offset, length } of await readPartitions(diskOf(bytes))) {
        expect(offset).toBeGreaterThan(0);
        expect(offset + length).toBeLessThanOrEqual(bytes.length);
      }
    }
  });
});

describe('a file system', () => {
  it('is known by its signature at its place, and nowhere else', async () => {
    const bytes = Buffer.alloc(MIB);
    bytes.writeUInt16LE(0xef53, 64 * KIB + 1024 + 56);
    expect(await findFileSystem(diskOf(bytes), { offset: 64 * KIB, length: 64 * KIB })).toMatchObject({
      found: { type: 'ext4', options: ['noload'] },
    });
    expect(await findFileSystem(diskOf(bytes), { offset: 0, length: MIB })).toEqual({ found: null, word: 'no known file system' });
    bytes.write('LABELONE', 512, 'latin1');
    expect(await findFileSystem(diskOf(bytes), { offset: 0, length: MIB })).toEqual({ found: null, word: 'an LVM volume' });
    expect(await findFileSystem(diskOf(bytes), { offset: MIB - 512, length: 512 })).toMatchObject({ found: null });
  });
});
