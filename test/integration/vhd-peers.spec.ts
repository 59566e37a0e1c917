import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GIB, KIB, MIB, TIB } from '#libs/kernel';
import {
  differencingVhdImage,
  differencingVhdxImage,
  dynamicVhdImage,
  dynamicVhdxImage,
  fixedVhdImage,
  fixedVhdxImage,
  imageReader,
  inspectDisk,
  openDiskImage,
  openVhd,
  qcow2Image,
  rawImage,
  saveImage,
  streamImage,
  type BlockSource,
  type ByteExtent,
  type VhdDisk,
} from '#libs/vhd';
import { closeFileSources, fileSource, SparseRaw } from '../support/disk-files.js';

const run = promisify(execFile);
const createdAt = new Date('2026-01-02T03:04:05Z');
afterEach(closeFileSources);

describe('disk images and their peers', () => {
  let directory: string;
  const at = (name: string): string => join(directory, name);
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-vhd-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  describe.each([
    [
      'small',
      64 * MIB,
      [
        [0, 4096],
        [3 * MIB + 512, 512],
        [30 * MIB, 9 * MIB],
        [64 * MIB - 512, 512],
      ],
    ],
    [
      'of an odd number of sectors',
      1 * GIB + 3 * 512,
      [
        [700 * MIB, 4 * MIB],
        [GIB, 3 * 512],
      ],
    ],
    ['of one sector', 512, [[0, 512]]],
    ['empty', 10 * MIB, []],
  ] as const)('a disk %s', (_name, sizeBytes, places) => {
    it.each([
      ['dynamic VHD', 'vpc', (raw: SparseRaw) => dynamicVhdImage(raw, createdAt)],
      ['fixed VHD', 'vpc', (raw: SparseRaw) => fixedVhdImage(raw, createdAt)],
      ['dynamic VHDX', 'vhdx', (raw: SparseRaw) => dynamicVhdxImage(raw)],
      ['fixed VHDX', 'vhdx', (raw: SparseRaw) => fixedVhdxImage(raw)],
      ['qcow2', 'qcow2', (raw: SparseRaw) => qcow2Image(raw)],
      ['qcow2 in clusters of 4 KiB', 'qcow2', (raw: SparseRaw) => qcow2Image(raw, { clusterBytes: 4 * KIB })],
      ['qcow2 in clusters of 2 MiB', 'qcow2', (raw: SparseRaw) => qcow2Image(raw, { clusterBytes: 2 * MIB })],
      ['raw', 'raw', (raw: SparseRaw) => rawImage(raw)],
    ] as const)('is the same to QEMU as %s', async (_name, format, make) => {
      const raw = await SparseRaw.make(at('source.raw'), sizeBytes, places);
      const image = await make(raw);
      await saveImage(image, at('disk'));
      if (format === 'vhdx' || format === 'qcow2') await run('qemu-img', ['check', '-f', format, at('disk')]);
      await run('qemu-img', ['compare', '-f', 'raw', '-F', format, raw.path, at('disk')]);
      const opened = await openDiskImage(await fileSource(at('disk')));
      expect(opened.sizeBytes).toBe(sizeBytes);
      const [end, length] = [Math.max(0, sizeBytes - 5 * MIB), Math.min(sizeBytes, 5 * MIB)];
      expect(Buffer.from(await opened.read(end, length)).equals(Buffer.from(await raw.read(end, length)))).toBe(true);
      // What is answered for a range before the file is written is what lies in the file.
      const reader = imageReader(image);
      const [file, from] = [await open(at('disk')), Math.max(0, image.sizeBytes - 100_000)];
      const { buffer } = await file.read(Buffer.alloc(image.sizeBytes - from), 0, image.sizeBytes - from, from);
      await file.close();
      expect(Buffer.from(await reader.read(from, image.sizeBytes - from)).equals(buffer)).toBe(true);
    });

    it.skipIf(sizeBytes >= GIB)('is the same to 7z as VHD, VHDX and qcow2', async () => {
      const raw = await SparseRaw.make(at('source.raw'), sizeBytes, places);
      const images = {
        'a.vhd': fixedVhdImage(raw, createdAt),
        'b.vhd': await dynamicVhdImage(raw, createdAt),
        'c.vhdx': fixedVhdxImage(raw),
      };
      const sparse = { 'd.vhdx': await dynamicVhdxImage(raw), 'e.qcow2': await qcow2Image(raw) };
      for (const [name, image] of Object.entries({ ...images, ...sparse })) {
        // 7z opens no VHDX whose disk is not whole MiBs, neither ours nor QEMU's.
        if (name.endsWith('.vhdx') && sizeBytes % MIB !== 0) continue;
        await saveImage(image, at(name));
        await run('7z', ['e', '-y', `-o${at(`${name}.out`)}`, at(name)]);
        const [content] = await readdir(at(`${name}.out`));
        await run('cmp', [raw.path, at(`${name}.out/${content}`)]);
        await rm(at(`${name}.out`), { recursive: true });
        await rm(at(name));
      }
    });
  });

  it('has its blocks where QEMU looks for them, on disks as large as the formats hold', async () => {
    const sizeBytes = 2040 * GIB;
    const places = [0, 5 * GIB + 512, TIB - 512, 2040 * GIB - 1024].map((offset) => [offset, 1024] as const);
    const raw = await SparseRaw.make(at('source.raw'), sizeBytes, places, () => Buffer.alloc(1024, 0x41));
    await saveImage(await dynamicVhdImage(raw, createdAt), at('disk.vhd'));
    await expectPattern('vpc', at('disk.vhd'), places);
    for (const blockBytes of [MIB, 8 * MIB, 32 * MIB, 256 * MIB]) {
      await saveImage(await dynamicVhdxImage(raw, { blockBytes }), at('disk.vhdx'));
      await expectPattern('vhdx', at('disk.vhdx'), places);
      expect(await inspectDisk(await fileSource(at('disk.vhdx')))).toMatchObject({ diskSizeBytes: sizeBytes });
      await rm(at('disk.vhdx'));
    }
  });

  it('takes no more room than its data', async () => {
    const raw = await SparseRaw.make(at('source.raw'), GIB, [
      [0, 4096],
      [512 * MIB, 4096],
    ]);
    const image = await dynamicVhdxImage(raw);
    await saveImage(image, at('disk.vhdx'));
    const { size, blocks } = await stat(at('disk.vhdx'));
    expect(size).toBe(image.sizeBytes);
    expect(blocks * 512).toBeLessThan(2 * MIB);
  });

  it('is the same bytes as a stream and as a file', async () => {
    const raw = await SparseRaw.make(at('source.raw'), 20 * MIB, [[5 * MIB, 4096]]);
    const image = await dynamicVhdImage(raw, createdAt);
    await saveImage(image, at('disk.vhd'));
    const pieces: Uint8Array[] = [];
    for await (const piece of streamImage(image)) pieces.push(piece);
    expect(Buffer.concat(pieces).equals(await readFile(at('disk.vhd')))).toBe(true);
  });

  describe.each(['vhd', 'vhdx'] as const)('a chain of differencing files: %s', (format) => {
    const sizeBytes = 48 * MIB;
    const [base, middle, child] = [`base.${format}`, `middle.${format}`, `child.${format}`];
    let newest: Buffer;

    /** Each over the one before. */
    beforeEach(async () => {
      newest = Buffer.alloc(sizeBytes);
      randomBytes(MIB).copy(newest, 0);
      randomBytes(5 * MIB).copy(newest, 30 * MIB);
      let vhd = await dynamicVhdImage(inMemory(Buffer.from(newest)), createdAt);
      let vhdx = await dynamicVhdxImage(inMemory(Buffer.from(newest)));
      await saveImage(format === 'vhd' ? vhd : vhdx, at(base));
      let fileName = base;
      for (const name of [middle, child]) {
        const changes = change(newest, [
          [4096, 4096],
          [2 * MIB - 512, 1024],
          [10 * MIB, 4 * MIB],
          [31 * MIB, 64 * KIB],
          [34 * MIB, MIB],
          [sizeBytes - 512, 512],
        ]);
        // A whole block, and a part of one, become zeros over the parent's data.
        newest.fill(0, 12 * MIB, 14 * MIB);
        newest.fill(0, 34 * MIB, 34 * MIB + 4096);
        const disk = inMemory(Buffer.from(newest), true);
        vhd = differencingVhdImage(disk, changes, { ...vhd.identity, fileName }, createdAt);
        const { diskId, dataWriteId } = vhdx.identity;
        vhdx = differencingVhdxImage(disk, changes, { dataWriteId, fileName }, { diskId });
        await saveImage(format === 'vhd' ? vhd : vhdx, at(name));
        fileName = name;
      }
    });

    it('is read merged by 7z', async () => {
      const { stdout } = await run('7z', ['e', '-so', at(child)], { encoding: 'buffer', maxBuffer: 2 * sizeBytes });
      expect(stdout.equals(newest)).toBe(true);
    });

    it.skipIf(!existsSync('/dev/fuse'))('is read merged by vhdimount', async ({ skip }) => {
      await mkdir(at('mount'));
      await run('vhdimount', [at(child), at('mount')]).catch((error: unknown) => {
        // Some machines let nobody but root mount; there 7z, above, is the independent reader.
        if (process.getuid?.() === 0) throw error;
        skip('this user may not mount');
      });
      try {
        const levels = (await readdir(at('mount'))).sort();
        expect(levels).toHaveLength(3);
        expect((await readFile(at(`mount/${levels.at(-1)}`))).equals(newest)).toBe(true);
      } finally {
        await run('fusermount', ['-u', at('mount')]);
      }
    });

    it('is described by vhdiinfo as it is', async () => {
      const { stdout } = await run('vhdiinfo', [at(child)]);
      const parent = await inspectDisk(await fileSource(at(middle)));
      const uuid = parent.id!.replaceAll('-', '').replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
      expect(stdout).toMatch(new RegExp(`Parent identifier\\s*: ${uuid}`));
      expect(stdout).toMatch(/Disk type\s*: Differential/);
    });

    it('is read merged by ourselves, and only over the right parents', async () => {
      const files = await Promise.all([base, middle, child].map((name) => fileSource(at(name))));
      const disk = await openDiskImage(files[2]!, { parents: files.slice(0, 2) });
      expect(Buffer.from(await disk.read(0, sizeBytes)).equals(newest)).toBe(true);
      await expect(openDiskImage(files[2]!, { parents: [files[0]!] })).rejects.toMatchObject({ code: `${format}.parent-missing` });
      const alone = await inspectDisk(files[2]!);
      expect(alone.parent?.paths).toContain(format === 'vhd' ? middle : `.\\${middle}`);
      if (format === 'vhdx') return;
      let chain: VhdDisk | undefined;
      for (const file of files) chain = await openVhd(file, chain);
      expect(Buffer.from(await chain!.read(0, sizeBytes)).equals(newest)).toBe(true);
      await expect(openVhd(files[2]!, await openVhd(files[0]!))).rejects.toMatchObject({ code: 'vhd.parent-mismatch' });
    });
  });
});

/** The places hold 0x41 and the bytes around them zeros, says QEMU. */
async function expectPattern(
  format: string,
  path: string,
  places: ReadonlyArray<readonly [offset: number, length: number]>,
): Promise<void> {
  const reads = places.flatMap(([offset, length]) => [
    `read -P 0x41 ${offset} ${length}`,
    `read -P 0 ${offset < MIB ? MIB : offset - 1024} 512`,
  ]);
  const { stdout } = await run('qemu-io', ['-r', '-f', format, ...reads.flatMap((read) => ['-c', read]), path]);
  expect(stdout).not.toContain('verification failed');
  expect(stdout.match(/^read \d+\/\d+ bytes/gm)).toHaveLength(reads.length);
}

/** Known to the writer as data throughout, or by grains of 4 KiB. */
function inMemory(bytes: Buffer, knowsZeros = false): BlockSource {
  return {
    sizeBytes: bytes.byteLength,
    read: async (offset, length) => bytes.subarray(offset, offset + length),
    extents: async (offset, length) =>
      knowsZeros
        ? Array.from({ length: Math.ceil(length / 4096) }, (_, index) => {
            const grain = bytes.subarray(offset + index * 4096, Math.min(offset + length, offset + (index + 1) * 4096));
            return { offset: offset + index * 4096, length: grain.byteLength, zero: grain.every((byte) => byte === 0) };
          })
        : [{ offset, length, zero: false }],
  };
}

function change(disk: Buffer, places: ReadonlyArray<readonly [offset: number, length: number]>): ByteExtent[] {
  return places.map(([offset, length]) => {
    randomBytes(length).copy(disk, offset);
    return { offset, length };
  });
}
