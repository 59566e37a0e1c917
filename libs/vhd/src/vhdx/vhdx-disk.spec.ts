import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { KIB, MIB, TIB } from '#libs/kernel';
import { logEntry, nameLog, type LogEntry, type LoggedWrite } from '../testing/log-writer.js';
import { contentOf, fileOf, MemoryDisk } from '../testing/memory-disk.js';
import { expectTypedOrReadable, mutate, mutationsOf } from '../testing/mutations.js';
import { openVhdx, type VhdxDisk } from './vhdx-disk.js';
import { dynamicVhdxImage } from './vhdx-image.js';
import { METADATA, readGuid, seal, writeGuid } from './vhdx-layout.js';
import { count } from '../../../../test/support/counts.js';

const [HEADER1, HEADER2, REGIONS1, REGIONS2] = [64 * KIB, 128 * KIB, 192 * KIB, 256 * KIB] as const;
const [LOG, METADATA_REGION, TABLE] = [MIB, 2 * MIB, 3 * MIB] as const;
const VALUES = METADATA_REGION + 64 * KIB;
const logId = '018f0000-0000-7000-8000-0000000000aa';

const open = (file: Buffer): Promise<VhdxDisk> => openVhdx(new MemoryDisk(file));

/** 3 MiB and a half in blocks of 1 MiB: the second without data, the last one short. */
function makeDisk(): Buffer {
  const bytes = Buffer.alloc(3.5 * MIB);
  randomBytes(70_000).copy(bytes, 512 * KIB);
  randomBytes(512).copy(bytes, 2 * MIB);
  randomBytes(512).copy(bytes, bytes.byteLength - 512);
  return bytes;
}

describe('openVhdx', () => {
  const bytes = makeDisk();
  let golden: Buffer;
  beforeAll(async () => {
    golden = await fileOf(await dynamicVhdxImage(new MemoryDisk(bytes), { blockBytes: MIB }));
  });
  const changed = (change: (file: Buffer) => void): Buffer => {
    const file = Buffer.from(golden);
    change(file);
    return file;
  };

  it('reads back what was written, at any place', async () => {
    const disk = await open(golden);
    expect(disk).toMatchObject({ type: 'dynamic', sizeBytes: bytes.byteLength, logicalSectorBytes: 512 });
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.byteLength), fc.nat(2 * MIB), async (offset, wanted) => {
        const length = Math.min(wanted, bytes.byteLength - offset);
        expect(Buffer.from(await disk.read(offset, length)).equals(bytes.subarray(offset, offset + length))).toBe(true);
      }),
      { numRuns: count(30, 1_000) },
    );
    expect((await disk.extents(0, bytes.byteLength)).map(({ offset, length }) => [offset, length])).toEqual([
      [0, MIB],
      [2 * MIB, 1.5 * MIB],
    ]);
  });

  it('keeps the disk id it is given', async () => {
    const diskId = '018f0000-0000-7000-8000-000000000001';
    const file = await fileOf(await dynamicVhdxImage(new MemoryDisk(bytes), { diskId }));
    expect((await open(file)).diskId).toBe(diskId);
  });

  it('refuses to write what a VHDX cannot hold', async () => {
    const disk = (sizeBytes: number) => ({ sizeBytes, read: async () => Buffer.alloc(0), extents: async () => [] });
    await expect(dynamicVhdxImage(disk(64 * TIB + 512))).rejects.toMatchObject({ code: 'vhdx.too-large' });
    await expect(dynamicVhdxImage(disk(513))).rejects.toMatchObject({ code: 'vhdx.size-invalid' });
    await expect(dynamicVhdxImage(disk(MIB), { blockBytes: 3 * MIB })).rejects.toMatchObject({ code: 'vhdx.block-size-invalid' });
    expect((await dynamicVhdxImage(disk(64 * TIB))).sizeBytes).toBeLessThan(32 * MIB);
  });

  describe('takes the header that counts', () => {
    it('whichever is whole', async () => {
      for (const at of [HEADER1, HEADER2]) {
        const file = changed((file) => file.fill(0x55, at, at + 4096));
        expect((await contentOf(await open(file))).equals(bytes)).toBe(true);
      }
      const neither = changed((file) => file.fill(0x55, HEADER1, HEADER2 + 4096));
      await expect(open(neither)).rejects.toMatchObject({ code: 'vhdx.header-broken' });
    });

    it('by the higher sequence number', async () => {
      const file = changed((file) => {
        file.writeBigUInt64LE(9n, HEADER1 + 8);
        file.writeUInt16LE(7, HEADER1 + 64);
        seal(file.subarray(HEADER1, HEADER1 + 4096));
      });
      await expect(open(file)).rejects.toMatchObject({ code: 'vhdx.unsupported' });
    });

    it('and the region table that is whole', async () => {
      const file = changed((file) => file.fill(0x55, REGIONS1, REGIONS1 + 100));
      expect((await contentOf(await open(file))).equals(bytes)).toBe(true);
    });
  });

  describe('plays the log', () => {
    /** The disk's second block comes and its first goes, by the log alone. */
    const later = Buffer.from(bytes);
    later.fill(0, 0, MIB);
    later.fill(0x41, MIB, 2 * MIB);
    let table: Buffer;
    let file: Buffer;
    const entry = (sequence: bigint, tail: number, writes: readonly LoggedWrite[], more: Partial<LogEntry> = {}): Buffer =>
      logEntry({ logId, sequence, tail, flushedBytes: file.byteLength, writes, ...more });

    beforeAll(() => {
      file = Buffer.concat([golden, Buffer.alloc(MIB, 0x41)]);
      nameLog(file, logId);
      table = Buffer.from(golden.subarray(TABLE, TABLE + 4096));
      table.fill(0, 0, 8);
      table.writeBigUInt64LE((BigInt(golden.byteLength / MIB) << 20n) | 6n, 8);
    });
    const withLog = (...entries: ReadonlyArray<readonly [offset: number, entry: Buffer]>): Buffer => {
      const played = Buffer.from(file);
      for (const [offset, bytes] of entries) {
        const first = bytes.copy(played, LOG + offset, 0, Math.min(bytes.byteLength, MIB - offset));
        bytes.copy(played, LOG, first);
      }
      return played;
    };
    const garbage = Buffer.alloc(4096, 0x99);

    it('of one entry', async () => {
      const disk = await open(withLog([0, entry(5n, 0, [{ offset: TABLE, bytes: table }])]));
      expect((await contentOf(disk)).equals(later)).toBe(true);
    });

    it('of several entries in order, round the end of the ring', async () => {
      const first = entry(5n, MIB - 8192, [{ offset: TABLE, bytes: garbage }]);
      const second = entry(6n, MIB - 8192, [{ offset: TABLE, zeroBytes: 4096 }]);
      const third = entry(7n, MIB - 8192, [{ offset: TABLE, bytes: table }]);
      const disk = await open(withLog([MIB - 8192, first], [0, second], [4096, third]));
      expect((await contentOf(disk)).equals(later)).toBe(true);
    });

    it('with an entry that itself goes round the end', async () => {
      const disk = await open(withLog([MIB - 4096, entry(5n, MIB - 4096, [{ offset: TABLE, bytes: table }])]));
      expect((await contentOf(disk)).equals(later)).toBe(true);
    });

    it('but neither what lies before the tail, nor a torn entry after it, nor an older sequence', async () => {
      const before = entry(4n, 0, [{ offset: METADATA_REGION, bytes: garbage }]);
      const active = entry(5n, 8192, [{ offset: TABLE, bytes: table }]);
      const torn = entry(6n, 8192, [{ offset: METADATA_REGION, bytes: garbage }]);
      torn[5000] = torn[5000]! ^ 1;
      const older = entry(3n, 65_536, [{ offset: METADATA_REGION, bytes: garbage }]);
      const disk = await open(withLog([0, before], [8192, active], [16_384, torn], [65_536, older]));
      expect((await contentOf(disk)).equals(later)).toBe(true);
    });

    it('into a file that must have grown', async () => {
      const long = withLog([
        0,
        entry(5n, 0, [{ offset: TABLE, bytes: table }], { flushedBytes: golden.byteLength, lastBytes: golden.byteLength + MIB }),
      ]);
      const disk = await open(long.subarray(0, golden.byteLength));
      expect(Buffer.from(await disk.read(MIB, MIB)).equals(Buffer.alloc(MIB))).toBe(true);
    });

    it('and refuses one that is not there, of another file, or of a file that was cut', async () => {
      const good = entry(5n, 0, [{ offset: TABLE, bytes: table }]);
      const other = entry(5n, 0, [{ offset: TABLE, bytes: table }], { logId: '018f0000-0000-7000-8000-0000000000bb' });
      await expect(open(withLog())).rejects.toMatchObject({ code: 'vhdx.log-broken' });
      await expect(open(withLog([0, other]))).rejects.toMatchObject({ code: 'vhdx.log-broken' });
      await expect(open(withLog([0, good]).subarray(0, golden.byteLength))).rejects.toMatchObject({ code: 'vhdx.truncated' });
    });

    it('in bounded time where every sector claims to begin a long entry', async () => {
      const hostile = Buffer.from(file);
      const claim = entry(5n, 0, []);
      claim.writeUInt32LE(MIB, 8);
      for (let at = LOG; at < LOG + MIB; at += 4096) claim.copy(hostile, at);
      const startMs = performance.now();
      await expect(open(hostile)).rejects.toMatchObject({ code: 'vhdx.log-broken' });
      expect(performance.now() - startMs).toBeLessThan(1000);
    });

    it('and survives any mutation of it', async () => {
      const entries = [entry(5n, 0, [{ offset: TABLE, bytes: garbage }]), entry(6n, 0, [{ offset: TABLE, bytes: table }])] as const;
      const whole = withLog([0, entries[0]], [8192, entries[1]]);
      const parts = [
        [LOG, 160],
        [LOG + 4096, 16],
        [LOG + 8192, 160],
        [HEADER2 + 48, 32],
      ] as const;
      await fc.assert(
        fc.asyncProperty(mutationsOf(parts), async (mutations) => {
          const mutated = mutate(whole, mutations);
          for (const at of [LOG, LOG + 8192]) seal(mutated.subarray(at, at + 8192));
          seal(mutated.subarray(HEADER2, HEADER2 + 4096));
          await expectTypedOrReadable(mutated, 'vhdx', openVhdx);
        }),
        { numRuns: count(100, 5_000) },
      );
    });
  });

  describe('refuses, by its own code,', () => {
    const withRegions = (change: (regions: Buffer) => void): Buffer =>
      changed((file) => {
        change(file.subarray(REGIONS1, REGIONS2));
        seal(file.subarray(REGIONS1, REGIONS2));
      });
    const item = (file: Buffer, id: string): number => {
      for (let at = METADATA_REGION + 32; ; at += 32) if (readGuid(file, at) === id) return at;
    };
    const value = (file: Buffer, id: string): number => METADATA_REGION + file.readUInt32LE(item(file, id) + 16);
    const withLogAt = (offset: bigint): Buffer =>
      changed((file) => {
        for (const at of [HEADER1, HEADER2]) {
          file.writeBigUInt64LE(offset, at + 72);
          seal(file.subarray(at, at + 4096));
        }
      });

    it.each<[string, string, () => Buffer]>([
      ['an empty file', 'truncated', () => Buffer.alloc(0)],
      ['what is no VHDX', 'signature-missing', () => Buffer.alloc(MIB)],
      ['a file that was cut in its blocks', 'truncated', () => golden.subarray(0, golden.byteLength - MIB)],
      ['a file that was cut in its regions', 'truncated', () => golden.subarray(0, 2.5 * MIB)],
      ['a log where the headers are', 'header-broken', () => withLogAt(0n)],
      ['a log over a region', 'region-overlap', () => withLogAt(BigInt(METADATA_REGION))],
      ['a log beyond the end', 'truncated', () => withLogAt(1n << 40n)],
      ['region tables that are broken', 'region-broken', () => changed((file) => file.fill(1, REGIONS1, REGIONS2 + 100))],
      ['more regions than fit', 'region-broken', () => withRegions((regions) => regions.writeUInt32LE(0xffff_ffff, 8))],
      ['a region that is missing', 'region-broken', () => withRegions((regions) => regions.writeUInt32LE(1, 8))],
      ['a region that comes twice', 'region-broken', () => withRegions((regions) => regions.copy(regions, 48, 16, 48))],
      ['a region off its MiB', 'region-broken', () => withRegions((regions) => regions.writeUInt32LE(5, 32))],
      ['regions that overlap', 'region-overlap', () => withRegions((regions) => regions.copy(regions, 64, 32, 40))],
      ['a region that must be known', 'unsupported', () => withRegions((regions) => writeGuid(regions, 16, logId))],
      ['no metadata table', 'metadata-broken', () => changed((file) => file.fill(0, METADATA_REGION, METADATA_REGION + 8))],
      [
        'an item that lies nowhere',
        'metadata-broken',
        () => changed((file) => file.writeUInt32LE(0xffff_fff0, item(file, METADATA.diskSize) + 16)),
      ],
      ['an item that is missing', 'metadata-broken', () => changed((file) => file.writeUInt16LE(1, METADATA_REGION + 10))],
      [
        'items that overlap',
        'metadata-broken',
        () => changed((file) => file.writeUInt32LE(VALUES - METADATA_REGION, item(file, METADATA.diskSize) + 16)),
      ],
      ['an item that must be known', 'unsupported', () => changed((file) => writeGuid(file, item(file, METADATA.diskSize), logId))],
      ['blocks of no size', 'metadata-broken', () => changed((file) => file.writeUInt32LE(0, value(file, METADATA.fileParameters)))],
      ['sectors of no size', 'metadata-broken', () => changed((file) => file.writeUInt32LE(0, value(file, METADATA.logicalSectorSize)))],
      ['a disk of no size', 'size-invalid', () => changed((file) => file.writeBigUInt64LE(0n, value(file, METADATA.diskSize)))],
      [
        'a disk that is too large',
        'size-invalid',
        () => changed((file) => file.writeBigUInt64LE(1n << 62n, value(file, METADATA.diskSize))),
      ],
      [
        'a table that is too short',
        'table-broken',
        () => changed((file) => file.writeBigUInt64LE(1n << 40n, value(file, METADATA.diskSize))),
      ],
      [
        'a child that names no parent',
        'metadata-broken',
        () => changed((file) => file.writeUInt32LE(2, value(file, METADATA.fileParameters) + 4)),
      ],
      ['a block in no state', 'table-broken', () => changed((file) => file.writeUInt8(5, TABLE))],
      ['a block twice', 'block-overlap', () => changed((file) => file.copy(file, TABLE + 8, TABLE, TABLE + 8))],
      ['a block over the headers', 'block-overlap', () => changed((file) => file.writeBigUInt64LE(6n, TABLE))],
      ['a block over the log', 'block-overlap', () => changed((file) => file.writeBigUInt64LE((1n << 20n) | 6n, TABLE))],
      ['a block beyond the end', 'truncated', () => changed((file) => file.writeBigUInt64LE((1n << 50n) | 6n, TABLE))],
    ])('%s', async (_what, code, make) => {
      await expect(open(make())).rejects.toMatchObject({ code: `vhdx.${code}`, kind: 'invalid' });
    });
  });

  it('survives any mutation', async () => {
    const parts = [
      [0, 16],
      [HEADER1, 80],
      [HEADER2, 80],
      [REGIONS1, 80],
      [METADATA_REGION, 192],
      [VALUES, 40],
      [TABLE, 40],
    ] as const;
    await fc.assert(
      fc.asyncProperty(mutationsOf(parts), fc.boolean(), async (mutations, isSealed) => {
        const file = mutate(golden, mutations);
        if (isSealed)
          for (const [at, length] of [
            [HEADER1, 4096],
            [HEADER2, 4096],
            [REGIONS1, 65_536],
          ] as const)
            seal(file.subarray(at, at + length));
        await expectTypedOrReadable(file, 'vhdx', openVhdx);
      }),
      { numRuns: count(200, 10_000) },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(golden.byteLength), (length) => expectTypedOrReadable(golden.subarray(0, length), 'vhdx', openVhdx)),
      { numRuns: count(50, 2_000) },
    );
  });
});
