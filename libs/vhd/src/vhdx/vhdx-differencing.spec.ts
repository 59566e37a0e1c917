import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { count } from '../../../../test/support/counts.js';
import { KIB, MIB } from '#libs/kernel';
import { contentOf, fileOf, MemoryDisk } from '../testing/memory-disk.js';
import { expectTypedOrReadable, mutate, mutationsOf } from '../testing/mutations.js';
import { openVhdx, VHDX_CHAIN_DEPTH_MAX, type VhdxDisk } from './vhdx-disk.js';
import { differencingVhdxImage, dynamicVhdxImage, type VhdxParent } from './vhdx-image.js';
import { METADATA, readGuid, seal, writeGuid } from './vhdx-layout.js';

const [METADATA_REGION, TABLE, BITMAPS] = [2 * MIB, 3 * MIB, 4 * MIB] as const;
const VALUES = METADATA_REGION + 64 * KIB;

const open = (file: Buffer, parent?: VhdxDisk): Promise<VhdxDisk> => openVhdx(new MemoryDisk(file), parent);

describe('a differencing VHDX', () => {
  const bytes = Buffer.alloc(5.5 * MIB);
  randomBytes(3 * MIB).copy(bytes, MIB);
  let golden: Buffer;
  let below: VhdxDisk;
  let parent: VhdxParent;
  beforeAll(async () => {
    const image = await dynamicVhdxImage(new MemoryDisk(bytes), { blockBytes: MIB });
    golden = await fileOf(image);
    below = await open(golden);
    parent = { dataWriteId: image.identity.dataWriteId, fileName: 'parent.vhdx' };
  });
  const childOf = (child: Buffer, changes: Array<{ offset: number; length: number }>, options = {}) =>
    differencingVhdxImage(new MemoryDisk(child), changes, parent, { blockBytes: MIB, ...options });
  /** A block changed in part, one as a whole, one to zeros as a whole and one to zeros in part. */
  const changes = [
    { offset: 512, length: 1024 },
    { offset: MIB, length: MIB },
    { offset: 2 * MIB, length: MIB },
    { offset: 3 * MIB + 4096, length: 8192 },
    { offset: 5.5 * MIB - 512, length: 512 },
  ];
  const changed = Buffer.from(bytes);
  randomBytes(1024).copy(changed, 512);
  randomBytes(MIB).copy(changed, MIB);
  changed.fill(0, 2 * MIB, 3 * MIB);
  changed.fill(0, 3 * MIB + 4096, 3 * MIB + 12_288);
  randomBytes(512).copy(changed, 5.5 * MIB - 512);

  it('shows every changed sector of the child and every other of the parent', async () => {
    expect((await contentOf(await open(await fileOf(childOf(changed, changes)), below))).equals(changed)).toBe(true);
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.nat(bytes.byteLength / 512 - 1), { maxLength: 60 }), async (sectors) => {
        const child = Buffer.from(bytes);
        const places = sectors.toSorted((a, b) => a - b).map((sector) => ({ offset: sector * 512, length: 512 }));
        for (const { offset } of places) child.set(offset % 1024 === 0 ? Buffer.alloc(512) : randomBytes(512), offset);
        const disk = await open(await fileOf(childOf(child, places)), below);
        expect((await contentOf(disk)).equals(child)).toBe(true);
        for (const { offset, length } of await disk.extents(0, disk.sizeBytes)) child.fill(0, offset, offset + length);
        expect(child.every((byte) => byte === 0)).toBe(true);
      }),
      { numRuns: count(10, 300) },
    );
  });

  it('has room for a bitmap and the five blocks that changed, and none where nothing did', async () => {
    expect(childOf(changed, changes).sizeBytes).toBe(BITMAPS + MIB + 5 * MIB);
    const same = childOf(bytes, []);
    expect(same.sizeBytes).toBe(BITMAPS);
    expect((await contentOf(await open(await fileOf(same), below))).equals(bytes)).toBe(true);
  });

  it.each([1, 2, 3])('takes a block in state %d for zeros, and not for its parent', async (state) => {
    const file = await fileOf(childOf(changed, changes));
    file.writeBigUInt64LE(BigInt(state), TABLE + 8);
    const want = Buffer.from(changed);
    want.fill(0, MIB, 2 * MIB);
    expect((await contentOf(await open(file, below))).equals(want)).toBe(true);
  });

  it('names its parent, to be shown', async () => {
    const image = differencingVhdxImage(new MemoryDisk(changed), changes, { ...parent, absolutePath: 'D:\\a\\parent.vhdx' });
    const disk = await open(await fileOf(image));
    expect(disk).toMatchObject({ type: 'differencing', depth: 0, lineage: [image.identity.dataWriteId] });
    expect(disk.parent).toEqual({ dataWriteId: parent.dataWriteId, paths: ['.\\parent.vhdx', 'D:\\a\\parent.vhdx'] });
  });

  it('needs the parent that it names, as it was', async () => {
    const file = await fileOf(childOf(changed, changes));
    const alone = await open(file);
    await expect(alone.read(0, 1024)).rejects.toMatchObject({ code: 'vhdx.parent-missing' });
    await expect(alone.extents(0, 1024)).rejects.toMatchObject({ code: 'vhdx.parent-missing' });
    expect(Buffer.from(await alone.read(MIB, MIB)).equals(changed.subarray(MIB, 2 * MIB))).toBe(true);
    const written = Buffer.from(golden);
    for (const at of [64 * KIB, 128 * KIB]) {
      writeGuid(written, at + 32, '018f0000-0000-7000-8000-0000000000ff');
      seal(written.subarray(at, at + 4096));
    }
    await expect(open(file, await open(written))).rejects.toMatchObject({ code: 'vhdx.parent-mismatch' });
  });

  it('goes neither round nor deeper than the limit', async () => {
    const file = await fileOf(childOf(changed, changes));
    const deepest = Object.assign(await open(golden), { depth: VHDX_CHAIN_DEPTH_MAX - 1 });
    await expect(open(file, deepest)).rejects.toMatchObject({ code: 'vhdx.chain-too-deep' });
    const own = (await open(file)).dataWriteId;
    const round = Object.assign(await open(golden), { lineage: [parent.dataWriteId, own] });
    await expect(open(file, round)).rejects.toMatchObject({ code: 'vhdx.chain-cycle' });
  });

  it('reads zeros where a smaller parent ends', async () => {
    const grown = Buffer.concat([bytes, Buffer.alloc(2 * MIB)]);
    const disk = await open(await fileOf(childOf(grown, [])), below);
    expect((await contentOf(disk)).equals(grown)).toBe(true);
  });

  it.each(['', '../parent.vhdx', 'C:parent.vhdx', 'a\\b.vhdx', 'a'.repeat(256)])('is not made over a parent by the name %j', (fileName) => {
    const image = () => differencingVhdxImage(new MemoryDisk(bytes), [], { ...parent, fileName });
    expect(image).toThrow(expect.objectContaining({ code: 'vhdx.parent-name-invalid' }) as Error);
  });

  describe('is refused', () => {
    let child: Buffer;
    beforeAll(async () => {
      child = await fileOf(childOf(changed, changes));
    });
    const broken = (change: (file: Buffer) => void): Buffer => {
      const file = Buffer.from(child);
      change(file);
      return file;
    };
    const locator = (file: Buffer): number => {
      for (let at = METADATA_REGION + 32; ; at += 32) {
        if (readGuid(file, at) === METADATA.parentLocator) return METADATA_REGION + file.readUInt32LE(at + 16);
      }
    };
    /** The first entry after a chunk's blocks: 4096 of a MiB each. */
    const bitmapEntry = TABLE + 4096 * 8;

    it.each<[string, string, () => Buffer]>([
      ['with a parent of another kind', 'unsupported', () => broken((file) => file.fill(1, locator(file), locator(file) + 16))],
      ['with more names than fit', 'metadata-broken', () => broken((file) => file.writeUInt16LE(0xffff, locator(file) + 18))],
      ['with a name that lies nowhere', 'metadata-broken', () => broken((file) => file.writeUInt32LE(0xffff_fff0, locator(file) + 20))],
      ['with a name of half a character', 'metadata-broken', () => broken((file) => file.writeUInt16LE(3, locator(file) + 28))],
      [
        'with a name twice',
        'metadata-broken',
        () => broken((file) => file.copy(file, locator(file) + 32, locator(file) + 20, locator(file) + 32)),
      ],
      ['without the bitmap it needs', 'table-broken', () => broken((file) => file.fill(0, bitmapEntry, bitmapEntry + 8))],
      ['with its bitmap over a block', 'block-overlap', () => broken((file) => file.copy(file, bitmapEntry, TABLE, TABLE + 8))],
      ['with its bitmap beyond the end', 'truncated', () => broken((file) => file.writeUInt8(0x70, bitmapEntry + 5))],
    ])('%s', async (_what, code, make) => {
      const file = make();
      if (code === 'block-overlap') file[bitmapEntry] = 6;
      await expect(open(file)).rejects.toMatchObject({ code: `vhdx.${code}`, kind: 'invalid' });
    });

    it('or read, whatever is changed in it', async () => {
      const parts = [
        [METADATA_REGION, 224],
        [VALUES, 400],
        [TABLE, 56],
        [TABLE + 4096 * 8 - 8, 24],
        [BITMAPS, 64],
      ] as const;
      await fc.assert(
        fc.asyncProperty(mutationsOf(parts), async (mutations) => {
          await expectTypedOrReadable(mutate(child, mutations), 'vhdx', (source) => openVhdx(source, below));
        }),
        { numRuns: count(150, 10_000) },
      );
    });
  });
});
