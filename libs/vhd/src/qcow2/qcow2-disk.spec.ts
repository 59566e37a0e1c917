import { randomBytes } from 'node:crypto';
import { deflateRawSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { count } from '../../../../test/support/counts.js';
import { KIB, MIB, TIB } from '#libs/kernel';
import type { BlockSource } from '../source/block-source.js';
import { contentOf, fileOf, MemoryDisk } from '../testing/memory-disk.js';
import { expectTypedOrReadable, mutate, mutationsOf } from '../testing/mutations.js';
import { zstdFrameBytes } from './qcow2-compression.js';
import { openQcow2, QCOW2_CHAIN_DEPTH_MAX, type Qcow2Disk } from './qcow2-disk.js';
import { qcow2Image } from './qcow2-image.js';

const CLUSTER = 64 * KIB;
/** Of our own files with clusters of 64 KiB, as small as these. */
const [REFCOUNT_TABLE, L1, L2, DATA] = [CLUSTER, 3 * CLUSTER, 4 * CLUSTER, 5 * CLUSTER] as const;

const open = (file: Buffer, below?: BlockSource): Promise<Qcow2Disk> => openQcow2(new MemoryDisk(file), below);

const bytes = Buffer.alloc(4 * MIB - 512);
randomBytes(70_000).copy(bytes, 512 * KIB);
randomBytes(512).copy(bytes, 2 * MIB);
randomBytes(512).copy(bytes, bytes.byteLength - 512);

describe('openQcow2', () => {
  let golden: Buffer;
  beforeAll(async () => {
    golden = await fileOf(await qcow2Image(new MemoryDisk(bytes)));
  });
  const broken = (change: (file: Buffer) => void): Buffer => {
    const file = Buffer.from(golden);
    change(file);
    return file;
  };
  const entry = (cluster: number): number => L2 + cluster * 8;

  it.each([512, 4 * KIB, 64 * KIB, 2 * MIB])('reads back what was written in clusters of %d bytes, at any place', async (clusterBytes) => {
    const disk = await open(await fileOf(await qcow2Image(new MemoryDisk(bytes), { clusterBytes })));
    expect(disk).toMatchObject({ sizeBytes: bytes.byteLength, clusterBytes, backing: null, depth: 0 });
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.byteLength), fc.nat(2 * MIB), async (offset, wanted) => {
        const length = Math.min(wanted, bytes.byteLength - offset);
        expect(Buffer.from(await disk.read(offset, length)).equals(bytes.subarray(offset, offset + length))).toBe(true);
      }),
      { numRuns: count(20, 500) },
    );
    const rest = Buffer.from(bytes);
    for (const { offset, length } of await disk.extents(0, disk.sizeBytes)) rest.fill(0, offset, offset + length);
    expect(rest.every((byte) => byte === 0)).toBe(true);
  });

  it('refuses to write what a qcow2 cannot hold', async () => {
    const disk = (sizeBytes: number) => ({ sizeBytes, read: async () => Buffer.alloc(0), extents: async () => [] });
    await expect(qcow2Image(disk(64 * TIB + 512))).rejects.toMatchObject({ code: 'qcow2.too-large' });
    await expect(qcow2Image(disk(TIB), { clusterBytes: 512 })).rejects.toMatchObject({ code: 'qcow2.too-large' });
    await expect(qcow2Image(disk(513))).rejects.toMatchObject({ code: 'qcow2.size-invalid' });
    await expect(qcow2Image(disk(MIB), { clusterBytes: 3 * KIB })).rejects.toMatchObject({ code: 'qcow2.cluster-size-invalid' });
    expect((await qcow2Image(disk(64 * TIB))).sizeBytes).toBeLessThan(2 * MIB);
  });

  it('takes a cluster that says so for zeros, whatever lies there', async () => {
    const file = broken((file) => {
      file[entry(8) + 7] = 1;
      file.writeBigUInt64BE(1n, entry(32));
    });
    const want = Buffer.from(bytes);
    want.fill(0, 8 * CLUSTER, 9 * CLUSTER);
    want.fill(0, 32 * CLUSTER, 33 * CLUSTER);
    const disk = await open(file);
    expect((await contentOf(disk)).equals(want)).toBe(true);
    expect((await disk.extents(0, disk.sizeBytes)).map(({ offset }) => offset / CLUSTER)).toEqual([9, 63]);
  });

  describe('unpacks compressed clusters', () => {
    const cluster = Buffer.alloc(CLUSTER, 'what can be said in fewer words');
    /** Packed bytes that begin 100 bytes into the first data cluster, with others' behind them. */
    const withPacked = (packed: Buffer, type: number): Buffer =>
      broken((file) => {
        if (type !== 0) file.writeBigUInt64BE(8n, 72);
        file.writeUInt32BE(112, 100);
        file.writeUInt8(type, 104);
        file.fill(0x99, DATA, DATA + CLUSTER);
        packed.copy(file, DATA + 100);
        const sectors = BigInt(Math.ceil((100 + packed.byteLength) / 512) - 1);
        file.writeBigUInt64BE((1n << 62n) | (sectors << 54n) | BigInt(DATA + 100), entry(8));
      });

    it.each([
      ['zlib', 0, deflateRawSync(cluster)],
      ['zstd', 1, zstdCompressSync(cluster)],
      ['zstd in two frames', 1, Buffer.concat([zstdCompressSync(cluster.subarray(0, 1000)), zstdCompressSync(cluster.subarray(1000))])],
    ])('of %s', async (_name, type, packed) => {
      const disk = await open(withPacked(packed, type));
      expect(Buffer.from(await disk.read(8 * CLUSTER + 10, 1000)).equals(cluster.subarray(10, 1010))).toBe(true);
      const want = Buffer.from(bytes);
      cluster.copy(want, 8 * CLUSTER);
      expect((await contentOf(disk)).equals(want)).toBe(true);
    });

    it.each([
      ['that are none', 0, Buffer.alloc(400, 0xff)],
      ['that are none', 1, Buffer.alloc(400, 0xff)],
      ['that make too little', 0, deflateRawSync(cluster.subarray(1))],
      ['that make too much', 0, deflateRawSync(Buffer.alloc(CLUSTER + 1))],
      ['that make far too much', 1, zstdCompressSync(Buffer.alloc(64 * MIB))],
    ])('and refuses those %s', async (_name, type, packed) => {
      const disk = await open(withPacked(packed, type));
      await expect(disk.read(8 * CLUSTER, 512)).rejects.toMatchObject({ code: 'qcow2.cluster-broken', kind: 'invalid' });
    });

    it('knows where a frame of zstd ends', () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 5000 }), fc.boolean(), fc.nat(9), (content, isRepeated, times) => {
          const plain = isRepeated ? Buffer.concat(Array.from({ length: times * 1000 }, () => content.subarray(0, 90))) : content;
          const frame = zstdCompressSync(plain);
          expect(zstdFrameBytes(Buffer.concat([frame, Buffer.alloc(20, 0x77)]))).toBe(frame.byteLength);
        }),
        { numRuns: count(50, 1_000) },
      );
    });
  });

  describe('with a backing file', () => {
    const below = new MemoryDisk(randomBytes(2 * MIB));
    const name = 'elsewhere.raw';
    let child: Buffer;
    beforeAll(() => {
      child = broken((file) => {
        file.writeBigUInt64BE(200n, 8);
        file.writeUInt32BE(name.length, 16);
        file.write(name, 200, 'latin1');
      });
    });

    it('shows it wherever it has nothing itself, and zeros behind its end', async () => {
      const want = Buffer.from(bytes);
      below.bytes.copy(want, 0);
      for (const cluster of [8, 9]) bytes.copy(want, cluster * CLUSTER, cluster * CLUSTER, (cluster + 1) * CLUSTER);
      expect((await contentOf(await open(child, below))).equals(want)).toBe(true);
    });

    it('names it, to be shown, and needs it', async () => {
      const alone = await open(child);
      expect(alone.backing).toEqual({ name, format: null });
      await expect(alone.read(0, 512)).rejects.toMatchObject({ code: 'qcow2.parent-missing' });
      const deepest = Object.assign(new MemoryDisk(Buffer.alloc(512)), { depth: QCOW2_CHAIN_DEPTH_MAX - 1 });
      await expect(open(child, deepest)).rejects.toMatchObject({ code: 'qcow2.chain-too-deep' });
    });

    it('does not look at one that it does not name', async () => {
      expect((await contentOf(await open(golden, below))).equals(bytes)).toBe(true);
    });
  });

  it.each<[string, string, (file: Buffer) => void]>([
    ['what is no qcow2', 'signature-missing', (file) => file.fill(0, 0, 4)],
    ['a version that is not known', 'unsupported', (file) => file.writeUInt32BE(4, 4)],
    ['an encrypted one', 'encrypted', (file) => file.writeUInt32BE(2, 32)],
    ['data in another file', 'external-data', (file) => file.writeBigUInt64BE(4n, 72)],
    ['one that is marked as corrupt', 'marked-corrupt', (file) => file.writeBigUInt64BE(2n, 72)],
    ['what must be known', 'unsupported', (file) => file.writeBigUInt64BE(16n, 72)],
    ['a compression that is not announced', 'unsupported', (file) => (file.writeUInt32BE(112, 100), file.writeUInt8(1, 104))],
    ['clusters of no size', 'header-broken', (file) => file.writeUInt32BE(8, 20)],
    ['clusters that are too large', 'header-broken', (file) => file.writeUInt32BE(22, 20)],
    ['a header that is too short', 'header-broken', (file) => file.writeUInt32BE(96, 100)],
    ['a header of no end', 'header-broken', (file) => file.writeUInt32BE(0xffff_fff8, 100)],
    ['a disk of no size', 'size-invalid', (file) => file.writeBigUInt64BE(0n, 24)],
    ['a disk of half a sector', 'size-invalid', (file) => file.writeBigUInt64BE(700n, 24)],
    ['a disk that is too large', 'size-invalid', (file) => file.writeBigUInt64BE(1n << 62n, 24)],
    ['a first table that is too short', 'header-broken', (file) => file.writeBigUInt64BE(BigInt(TIB), 24)],
    ['a first table that lies nowhere', 'header-broken', (file) => file.writeBigUInt64BE(77n, 40)],
    ['a first table beyond the end', 'truncated', (file) => file.writeBigUInt64BE(1n << 50n, 40)],
    ['refcounts beyond the end', 'truncated', (file) => file.writeUInt32BE(0xffff_ffff, 56)],
    ['a table over the header', 'cluster-overlap', (file) => file.writeBigUInt64BE(BigInt(REFCOUNT_TABLE), L1)],
    ['a table beyond the end', 'truncated', (file) => file.writeBigUInt64BE(1n << 54n, L1)],
    ['a table off its cluster', 'table-broken', (file) => file.writeBigUInt64BE(BigInt(L2 + 512), L1)],
    ['a name of a backing file that lies nowhere', 'header-broken', (file) => file.writeBigUInt64BE(1n << 60n, 8)],
    ['a cluster twice', 'cluster-overlap', (file) => file.copy(file, entry(0), entry(8), entry(8) + 8)],
    ['a cluster over a table', 'cluster-overlap', (file) => file.writeBigUInt64BE(BigInt(L2), entry(0))],
    ['a cluster beyond the end', 'truncated', (file) => file.writeBigUInt64BE(1n << 50n, entry(0))],
    ['a cluster off its place', 'table-broken', (file) => file.writeBigUInt64BE(BigInt(DATA + 512), entry(0))],
    ['a packed cluster beyond the end', 'truncated', (file) => file.writeBigUInt64BE((1n << 62n) | (1n << 50n), entry(0))],
  ])('refuses %s by its own code', async (_what, code, change) => {
    const reading = open(broken(change)).then((disk) => disk.read(0, 512));
    await expect(reading).rejects.toMatchObject({ code: `qcow2.${code}`, kind: 'invalid' });
  });

  it('refuses a file that was cut', async () => {
    await expect(open(Buffer.alloc(0))).rejects.toMatchObject({ code: 'qcow2.signature-missing' });
    await expect(open(golden.subarray(0, 80))).rejects.toMatchObject({ code: 'qcow2.truncated' });
    await expect(open(golden.subarray(0, L2))).rejects.toMatchObject({ code: 'qcow2.truncated' });
    const cut = await open(golden.subarray(0, golden.byteLength - CLUSTER));
    await expect(cut.read(0, cut.sizeBytes)).rejects.toMatchObject({ code: 'qcow2.truncated' });
  });

  it('refuses tables that share what lies in the file', async () => {
    const file = await fileOf(await qcow2Image(new MemoryDisk(randomBytes(256 * KIB)), { clusterBytes: 4 * KIB }));
    const l1 = Number(file.readBigUInt64BE(40));
    const l2 = Number(file.readBigUInt64BE(l1) & 0x00ff_ffff_ffff_fe00n);
    const twice = Buffer.concat([file, file.subarray(l2, l2 + 4096)]);
    twice.writeBigUInt64BE(BigInt(4 * MIB), 24);
    twice.writeUInt32BE(2, 36);
    twice.writeBigUInt64BE(BigInt(file.byteLength), l1 + 8);
    const disk = await open(twice);
    await expect(disk.extents(0, disk.sizeBytes)).rejects.toMatchObject({ code: 'qcow2.cluster-overlap' });
  });

  it('survives any mutation', async () => {
    const parts = [
      [0, 112],
      [L1, 16],
      [entry(0), 32],
      [entry(8), 32],
      [entry(60), 40],
    ] as const;
    await fc.assert(
      fc.asyncProperty(mutationsOf(parts), (mutations) =>
        expectTypedOrReadable(mutate(golden, mutations), 'qcow2', (source) => openQcow2(source)),
      ),
      { numRuns: count(300, 20_000) },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(golden.byteLength), (length) =>
        expectTypedOrReadable(golden.subarray(0, length), 'qcow2', (source) => openQcow2(source)),
      ),
      { numRuns: count(50, 2_000) },
    );
  });
});
