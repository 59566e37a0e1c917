import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { GIB, MIB } from '#libs/kernel';
import { contentOf, fileOf, MemoryDisk } from '../testing/memory-disk.js';
import { expectTypedOrReadable, mutate, mutationsOf } from '../testing/mutations.js';
import { openVhd, VHD_CHAIN_DEPTH_MAX, type VhdDisk } from './vhd-disk.js';
import { differencingVhdImage, dynamicVhdImage, type VhdParent } from './vhd-image.js';
import { encodeFooter, encodeHeader, parseFooter } from './vhd-layout.js';
import { count } from '../../../../test/support/counts.js';

const createdAt = new Date('2026-01-02T03:04:05Z');
const uniqueId = '018f0000-0000-7000-8000-000000000001';
const parent: VhdParent = { uniqueId, createdAt, fileName: 'parent.vhd' };
const open = (file: Buffer, below?: VhdDisk): Promise<VhdDisk> => openVhd(new MemoryDisk(file), below);

/** 5 MiB and a sector: three blocks, the second without data, the last one short. */
function makeDisk(): Buffer {
  const bytes = Buffer.alloc(5 * MIB + 512);
  randomBytes(70_000).copy(bytes, 512 * 1024);
  randomBytes(1024).copy(bytes, 5 * MIB - 512);
  return bytes;
}

describe('openVhd', () => {
  const bytes = makeDisk();
  let dynamic: Buffer;
  beforeAll(async () => {
    dynamic = await fileOf(await dynamicVhdImage(new MemoryDisk(bytes), createdAt, uniqueId));
  });

  it('reads back what was written, at any place', async () => {
    const disk = await open(dynamic);
    expect((await contentOf(disk)).equals(bytes)).toBe(true);
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.byteLength), fc.nat(3 * MIB), async (offset, wanted) => {
        const length = Math.min(wanted, bytes.byteLength - offset);
        expect(Buffer.from(await disk.read(offset, length)).equals(bytes.subarray(offset, offset + length))).toBe(true);
      }),
      { numRuns: count(30, 1_000) },
    );
  });

  it('leaves blocks without data out, and knows it', async () => {
    expect(dynamic.byteLength).toBeLessThan(4.1 * MIB);
    const extents = await (await open(dynamic)).extents(0, bytes.byteLength);
    expect(extents.map(({ offset, length }) => [offset, length])).toEqual([
      [0, 2 * MIB],
      [4 * MIB, MIB + 512],
    ]);
  });

  it('writes the same bytes again for the same disk', async () => {
    const again = await fileOf(await dynamicVhdImage(new MemoryDisk(bytes), createdAt, uniqueId));
    expect(again.equals(dynamic)).toBe(true);
  });

  it('has a footer as the specification wants it', () => {
    const footer = dynamic.subarray(-512);
    expect(footer.equals(dynamic.subarray(0, 512))).toBe(true);
    expect(footer.toString('latin1', 28, 32)).toBe('win ');
    expect(parseFooter(footer)).toEqual({
      type: 'dynamic',
      sizeBytes: bytes.byteLength,
      uniqueId: uniqueId.replaceAll('-', ''),
      timestampSeconds: 820_638_245,
      headerOffset: 512,
    });
  });

  it.each([
    [40 * MIB, [963, 5, 17]],
    [GIB, [2080, 16, 63]],
    [127 * GIB, [65_278, 16, 255]],
    [2040 * GIB, [65_535, 16, 255]],
  ])('gives a disk of %d bytes its geometry', (sizeBytes, geometry) => {
    const footer = encodeFooter({ type: 'fixed', sizeBytes, uniqueId: '', timestampSeconds: 0, headerOffset: null });
    expect([footer.readUInt16BE(56), footer.readUInt8(58), footer.readUInt8(59)]).toEqual(geometry);
  });

  it('takes the copy where the footer at the end is broken', async () => {
    const file = Buffer.from(dynamic);
    file.fill(0x55, file.byteLength - 100);
    expect((await contentOf(await open(file))).equals(bytes)).toBe(true);
  });

  it('reads a fixed one', async () => {
    const footer = encodeFooter({ type: 'fixed', sizeBytes: bytes.byteLength, uniqueId: '', timestampSeconds: 0, headerOffset: null });
    const disk = await open(Buffer.concat([bytes, footer]));
    expect(disk.type).toBe('fixed');
    expect((await contentOf(disk)).equals(bytes)).toBe(true);
  });

  describe('over its parent', () => {
    it('shows every changed sector of the child and every other of the parent', async () => {
      const below = await open(dynamic);
      await fc.assert(
        fc.asyncProperty(fc.uniqueArray(fc.nat(bytes.byteLength / 512 - 1), { maxLength: 60 }), async (sectors) => {
          const child = Buffer.from(bytes);
          const changes = sectors.sort((a, b) => a - b).map((sector) => ({ offset: sector * 512, length: 512 }));
          for (const { offset } of changes) child.set(offset % 1024 === 0 ? Buffer.alloc(512) : randomBytes(512), offset);
          const file = await fileOf(differencingVhdImage(new MemoryDisk(child), changes, parent, createdAt));
          expect((await contentOf(await open(file, below))).equals(child)).toBe(true);
        }),
        { numRuns: count(15, 500) },
      );
    });

    it('needs the parent that it names', async () => {
      const file = await fileOf(differencingVhdImage(new MemoryDisk(bytes), [{ offset: 0, length: 512 }], parent, createdAt));
      const other = await open(await fileOf(await dynamicVhdImage(new MemoryDisk(bytes), createdAt)));
      await expect(open(file, other)).rejects.toMatchObject({ code: 'vhd.parent-mismatch' });
      const alone = await open(file);
      expect(alone.parent).toEqual({
        uniqueId: uniqueId.replaceAll('-', ''),
        name: 'parent.vhd',
        paths: ['.\\parent.vhd', 'parent.vhd'],
      });
      await expect(alone.read(0, 1024)).rejects.toMatchObject({ code: 'vhd.parent-missing' });
    });

    it('goes no deeper than the limit', async () => {
      const deepest = Object.assign(await open(dynamic), { depth: VHD_CHAIN_DEPTH_MAX - 1 });
      const file = await fileOf(differencingVhdImage(new MemoryDisk(bytes), [], parent, createdAt));
      await expect(open(file, deepest)).rejects.toMatchObject({ code: 'vhd.chain-too-deep' });
    });

    it('carries the locators by which Windows finds the parent', async () => {
      const file = await fileOf(
        differencingVhdImage(new MemoryDisk(bytes), [], { ...parent, absolutePath: 'D:\\a\\parent.vhd' }, createdAt),
      );
      const locator = (index: number): [string, string] => {
        const at = 512 + 576 + 24 * index;
        const offset = Number(file.readBigUInt64BE(at + 16));
        return [file.toString('latin1', at, at + 4), file.toString('utf16le', offset, offset + file.readUInt32BE(at + 8))];
      };
      expect(locator(0)).toEqual(['W2ru', '.\\parent.vhd']);
      expect(locator(1)).toEqual(['W2ku', 'D:\\a\\parent.vhd']);
    });

    it.each(['', '../parent.vhd', 'C:parent.vhd', 'a\\b.vhd', 'a'.repeat(256)])('refuses a parent by the name %j', (fileName) => {
      const image = () => differencingVhdImage(new MemoryDisk(bytes), [], { ...parent, fileName }, createdAt);
      expect(image).toThrow(expect.objectContaining({ code: 'vhd.parent-name-invalid' }) as Error);
    });
  });

  it('refuses disks that a VHD cannot hold', async () => {
    const disk = (sizeBytes: number) => ({ sizeBytes, read: async () => Buffer.alloc(0), extents: async () => [] });
    await expect(dynamicVhdImage(disk(2040 * GIB + 512), createdAt)).rejects.toMatchObject({ code: 'vhd.too-large' });
    await expect(dynamicVhdImage(disk(1000), createdAt)).rejects.toMatchObject({ code: 'vhd.size-invalid' });
    await expect(dynamicVhdImage(disk(0), createdAt)).rejects.toMatchObject({ code: 'vhd.size-invalid' });
  });

  describe('refuses, by its own code,', () => {
    const broken = (change: (file: Buffer) => void): Buffer => {
      const file = Buffer.from(dynamic);
      change(file);
      return file;
    };
    /** Writes both footers anew. */
    const withFooter = (changes: Partial<Parameters<typeof encodeFooter>[0]>): Buffer =>
      broken((file) => {
        const footer = encodeFooter({ ...parseFooter(file.subarray(0, 512)), ...changes });
        footer.copy(file, 0);
        footer.copy(file, file.byteLength - 512);
      });
    const header = { tableOffset: 1536, tableEntries: 3, blockBytes: 2 * MIB, parent: null };
    const withHeader = (changes: Partial<typeof header>): Buffer =>
      broken((file) => encodeHeader({ ...header, ...changes }, []).copy(file, 512));

    it.each<[string, string, () => Buffer]>([
      ['an empty file', 'vhd.footer-missing', () => Buffer.alloc(0)],
      ['what is no VHD', 'vhd.footer-missing', () => Buffer.alloc(4096)],
      [
        'a wrong checksum in both footers',
        'vhd.checksum-mismatch',
        () => broken((file) => [40, file.byteLength - 472].forEach((at) => (file[at] = 9))),
      ],
      ['a disk of no size', 'vhd.size-invalid', () => withFooter({ sizeBytes: 0 })],
      ['a disk of half a sector', 'vhd.size-invalid', () => withFooter({ sizeBytes: 700 })],
      ['a disk that is too large', 'vhd.size-invalid', () => withFooter({ sizeBytes: 2040 * GIB + 512 })],
      ['a header beyond the end', 'vhd.truncated', () => withFooter({ headerOffset: 2 ** 50 })],
      ['a header that is none', 'vhd.header-broken', () => withFooter({ headerOffset: 4096 })],
      ['a wrong checksum of the header', 'vhd.checksum-mismatch', () => broken((file) => (file[512 + 100] = 1))],
      ['a table beyond the end', 'vhd.truncated', () => withHeader({ tableOffset: 2 ** 40 })],
      ['a table that is too short', 'vhd.header-broken', () => withHeader({ tableEntries: 2 })],
      ['blocks of no size', 'vhd.header-broken', () => withHeader({ blockBytes: 0 })],
      ['blocks that are no power of two', 'vhd.header-broken', () => withHeader({ blockBytes: 3 * MIB })],
      ['a block beyond the end', 'vhd.truncated', () => broken((file) => file.writeUInt32BE(0x1000_0000, 1536 + 4))],
      ['a block twice', 'vhd.block-overlap', () => broken((file) => file.copy(file, 1536 + 4, 1536, 1540))],
      ['a block over the header', 'vhd.block-overlap', () => broken((file) => file.writeUInt32BE(1, 1536))],
      ['a file that was cut', 'vhd.truncated', () => dynamic.subarray(0, 3 * MIB)],
    ])('%s', async (_what, code, make) => {
      await expect(open(make())).rejects.toMatchObject({ code, kind: 'invalid' });
    });
  });

  it('survives any mutation', async () => {
    const end = dynamic.byteLength;
    const parts = [
      [0, 512],
      [512, 1024],
      [1536, 64],
      [end - 512, 512],
    ] as const;
    await fc.assert(
      fc.asyncProperty(mutationsOf(parts), fc.boolean(), async (mutations, isSealed) => {
        const file = mutate(dynamic, mutations);
        if (isSealed)
          for (const [start, at, length] of [
            [0, 64, 512],
            [512, 36, 1024],
            [end - 512, 64, 512],
          ] as const)
            reseal(file, start, at, length);
        await expectTypedOrReadable(file, 'vhd', (source) => openVhd(source));
      }),
      { numRuns: count(200, 10_000) },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(end), (length) => expectTypedOrReadable(dynamic.subarray(0, length), 'vhd', (source) => openVhd(source))),
      { numRuns: count(50, 2_000) },
    );
  });
});

/** Without this the checksums would catch every mutation, and nothing behind them were tried. */
function reseal(file: Buffer, start: number, checksumAt: number, length: number): void {
  file.writeUInt32BE(0, start + checksumAt);
  let sum = 0;
  for (const byte of file.subarray(start, start + length)) sum += byte;
  file.writeUInt32BE(~sum >>> 0, start + checksumAt);
}
