import { randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { MIB } from '#libs/kernel';
import { rawImage } from './image/raw-image.js';
import { openDiskImage } from './open-disk-image.js';
import { qcow2Image } from './qcow2/qcow2-image.js';
import type { RandomAccessSource } from './source/block-source.js';
import { contentOf, fileOf, MemoryDisk } from './testing/memory-disk.js';
import { differencingVhdImage, dynamicVhdImage, fixedVhdImage } from './vhd/vhd-image.js';
import { differencingVhdxImage, dynamicVhdxImage, fixedVhdxImage } from './vhdx/vhdx-image.js';

const createdAt = new Date('2026-01-02T03:04:05Z');
const source = (file: Buffer): RandomAccessSource => new MemoryDisk(file);

const bytes = Buffer.alloc(5 * MIB);
randomBytes(MIB).copy(bytes, 2 * MIB);
const disk = new MemoryDisk(bytes);

describe('openDiskImage', () => {
  it.each([
    ['raw', () => rawImage(disk)],
    ['vhd', () => fixedVhdImage(disk, createdAt)],
    ['vhd', () => dynamicVhdImage(disk, createdAt)],
    ['vhdx', () => fixedVhdxImage(disk)],
    ['vhdx', () => dynamicVhdxImage(disk)],
    ['qcow2', () => qcow2Image(disk)],
  ])('recognises %s', async (format, make) => {
    const opened = await openDiskImage(source(await fileOf(await make())));
    expect(opened).toMatchObject({ sizeBytes: bytes.byteLength, description: { format, parent: null } });
    expect((await contentOf(opened)).equals(bytes)).toBe(true);
    expect((await opened.extents(0, opened.sizeBytes)).some(({ zero }) => !zero)).toBe(true);
  });

  it('tells what a differencing file says itself, zeros too, and of a whole one nothing', async () => {
    const changes = [
      { offset: 2 * MIB + 512, length: 1024 },
      { offset: 4 * MIB, length: 4096 },
    ];
    const later = Buffer.from(bytes);
    later.fill(0, 2 * MIB + 512, 2 * MIB + 1536).fill(7, 4 * MIB, 4 * MIB + 4096);
    const vhd = await dynamicVhdImage(disk, createdAt);
    const vhdx = await dynamicVhdxImage(disk, { blockBytes: MIB });
    const files = [
      [vhd, differencingVhdImage(new MemoryDisk(later), changes, { ...vhd.identity, fileName: 'a' }, createdAt)],
      [vhdx, differencingVhdxImage(new MemoryDisk(later), changes, { ...vhdx.identity, fileName: 'a' }, { blockBytes: MIB })],
    ] as const;
    for (const [base, child] of files) {
      const parents = [source(await fileOf(base))];
      expect((await openDiskImage(parents[0]!)).changes).toBeNull();
      const opened = await openDiskImage(source(await fileOf(child)), { parents });
      expect(await opened.changes!(0, opened.sizeBytes)).toEqual(changes);
      expect(await opened.changes!(2 * MIB + 1024, MIB)).toEqual([{ offset: 2 * MIB + 1024, length: 512 }]);
      expect((await contentOf(opened)).equals(later)).toBe(true);
    }
  });

  it('takes a file for what it is said to be, and not for what a guest made it look like', async () => {
    const file = await fileOf(await qcow2Image(disk));
    const opened = await openDiskImage(source(file), { format: 'raw' });
    expect(opened).toMatchObject({ sizeBytes: file.byteLength, description: { format: 'raw' } });
    expect((await contentOf(opened)).equals(file)).toBe(true);
    await expect(openDiskImage(source(bytes), { format: 'vhdx' })).rejects.toMatchObject({ code: 'vhdx.signature-missing' });
  });

  describe.each(['vhd', 'vhdx'] as const)('of a chain of %s', (format) => {
    /** Each over the one before. */
    const files: Buffer[] = [];
    const newest = Buffer.from(bytes);
    beforeAll(async () => {
      const [vhd, vhdx] = [await dynamicVhdImage(disk, createdAt), await dynamicVhdxImage(disk)];
      files.push(await fileOf(format === 'vhd' ? vhd : vhdx));
      let [uniqueId, dataWriteId] = [vhd.identity.uniqueId, vhdx.identity.dataWriteId];
      for (let index = 1; index < 4; index += 1) {
        const changes = [{ offset: index * 4096, length: 512 }];
        randomBytes(512).copy(newest, index * 4096);
        const child = new MemoryDisk(Buffer.from(newest));
        if (format === 'vhd') {
          const image = differencingVhdImage(child, changes, { uniqueId, createdAt, fileName: 'x.vhd' }, createdAt);
          uniqueId = image.identity.uniqueId;
          files.push(await fileOf(image));
        } else {
          const image = differencingVhdxImage(child, changes, { dataWriteId, fileName: 'x.vhdx' });
          dataWriteId = image.identity.dataWriteId;
          files.push(await fileOf(image));
        }
      }
    });

    it('finds each parent by what it is, in whatever order they come', async () => {
      const parents = [2, 0, 1].map((index) => source(files[index]!));
      const opened = await openDiskImage(source(files[3]!), { parents: [source(bytes), ...parents] });
      expect(opened.description).toMatchObject({ format, type: 'differencing' });
      expect((await contentOf(opened)).equals(newest)).toBe(true);
    });

    it('says at once when one is missing', async () => {
      const opening = openDiskImage(source(files[3]!), { parents: [source(files[2]!), source(files[0]!)] });
      await expect(opening).rejects.toMatchObject({ code: `${format}.parent-missing`, kind: 'invalid' });
    });
  });

  it('does not follow a file round to itself', async () => {
    const id = '018f0000-0000-7000-8000-000000000001';
    const vhdx = await fileOf(differencingVhdxImage(disk, [], { dataWriteId: id, fileName: 'x' }, { dataWriteId: id }));
    await expect(openDiskImage(source(vhdx), { parents: [source(vhdx)] })).rejects.toMatchObject({ code: 'vhdx.chain-cycle' });
    const vhd = await fileOf(differencingVhdImage(disk, [], { uniqueId: id, createdAt, fileName: 'x' }, createdAt, id));
    await expect(openDiskImage(source(vhd), { parents: [source(vhd)] })).rejects.toMatchObject({ code: 'vhd.chain-cycle' });
  });

  it('goes no deeper than 64 files', async () => {
    const small = new MemoryDisk(Buffer.alloc(4096, 1));
    let last = await dynamicVhdImage(small, createdAt);
    const files = [source(await fileOf(last))];
    for (let index = 1; index < 65; index += 1) {
      last = differencingVhdImage(small, [], { ...last.identity, fileName: 'x.vhd' }, createdAt);
      files.unshift(source(await fileOf(last)));
    }
    expect((await contentOf(await openDiskImage(files[1]!, { parents: files.slice(2) }))).equals(small.bytes)).toBe(true);
    await expect(openDiskImage(files[0]!, { parents: files.slice(1) })).rejects.toMatchObject({ code: 'vhd.chain-too-deep' });
  });

  it('notices a parent that was made anew', async () => {
    const parent = await dynamicVhdImage(disk, new Date('2026-01-02T03:04:06Z'));
    const wanted = { uniqueId: parent.identity.uniqueId, createdAt, fileName: 'x.vhd' };
    const child = await fileOf(differencingVhdImage(disk, [], wanted, createdAt));
    const opening = openDiskImage(source(child), { parents: [source(await fileOf(parent))] });
    await expect(opening).rejects.toMatchObject({ code: 'vhd.parent-modified' });
  });

  describe('of a qcow2 with a backing file', () => {
    const withBacking = async (format: string | null): Promise<Buffer> => {
      const file = await fileOf(await qcow2Image(new MemoryDisk(Buffer.alloc(bytes.byteLength))));
      file.writeBigUInt64BE(200n, 8);
      file.writeUInt32BE(4, 16);
      file.write('base', 200, 'latin1');
      if (format !== null) {
        file.writeUInt32BE(0xe279_2aca, 104);
        file.writeUInt32BE(format.length, 108);
        file.write(format, 112, 'latin1');
      }
      return file;
    };

    it('takes what the caller gives, as what the file says it is', async () => {
      const raw = await openDiskImage(source(await withBacking('raw')), { parents: [source(bytes)] });
      expect((await contentOf(raw)).equals(bytes)).toBe(true);
      const vhdx = source(await fileOf(await dynamicVhdxImage(disk)));
      const over = await openDiskImage(source(await withBacking('vhdx')), { parents: [vhdx] });
      expect((await contentOf(over)).equals(bytes)).toBe(true);
    });

    it.each([
      ['raw', [], 'qcow2.parent-missing'],
      [null, [source(bytes)], 'qcow2.backing-format-missing'],
      ['qed', [source(bytes)], 'qcow2.unsupported'],
      ['qcow2', [source(bytes)], 'qcow2.signature-missing'],
    ])('refuses %s where that does not do', async (format, parents, code) => {
      await expect(openDiskImage(source(await withBacking(format)), { parents })).rejects.toMatchObject({ code, kind: 'invalid' });
    });
  });
});
