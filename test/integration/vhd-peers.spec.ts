import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GIB, KIB, MIB, TIB } from '#libs/kernel';
import {
  differencingVhdImage,
  dynamicVhdImage,
  dynamicVhdxImage,
  FileSource,
  inspectDisk,
  openVhd,
  openVhdx,
  rawImage,
  saveImage,
  streamImage,
  type BlockSource,
  type ByteExtent,
  type DiskExtent,
  type VhdDisk,
} from '#libs/vhd';

const run = promisify(execFile);
const createdAt = new Date('2026-01-02T03:04:05Z');

/** A raw file with data in a few places, known to the writer as extents. */
class SparseRaw implements BlockSource {
  readonly spans: DiskExtent[] = [];

  private constructor(
    readonly path: string,
    readonly sizeBytes: number,
  ) {}

  static async make(
    path: string,
    sizeBytes: number,
    places: ReadonlyArray<readonly [offset: number, length: number]>,
    content = randomBytes,
  ): Promise<SparseRaw> {
    const raw = new SparseRaw(path, sizeBytes);
    const file = await open(path, 'wx');
    await file.truncate(sizeBytes);
    for (const [offset, length] of places) {
      await file.write(content(length), 0, length, offset);
      raw.spans.push({ offset, length, zero: false });
    }
    await file.close();
    return raw;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const file = await open(this.path, 'r');
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, offset);
    await file.close();
    return buffer;
  }

  async extents(offset: number, length: number): Promise<DiskExtent[]> {
    return this.spans.filter((span) => span.offset < offset + length && span.offset + span.length > offset);
  }
}

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
    it('is the same to QEMU as dynamic VHD, dynamic VHDX and raw', async () => {
      const raw = await SparseRaw.make(at('source.raw'), sizeBytes, places);
      await saveImage(await dynamicVhdImage(raw, createdAt), at('disk.vhd'));
      await saveImage(await dynamicVhdxImage(raw), at('disk.vhdx'));
      await saveImage(rawImage(raw), at('disk.raw'));
      await run('qemu-img', ['check', '-f', 'vhdx', at('disk.vhdx')]);
      for (const [format, name] of [
        ['vpc', 'disk.vhd'],
        ['vhdx', 'disk.vhdx'],
        ['raw', 'disk.raw'],
      ] as const) {
        await run('qemu-img', ['compare', '-f', 'raw', '-F', format, raw.path, at(name)]);
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

  describe('a chain of differencing VHDs', () => {
    const sizeBytes = 48 * MIB;
    let newest: Buffer;

    /** base.vhd, middle.vhd, child.vhd, each over the one before. */
    beforeEach(async () => {
      newest = Buffer.alloc(sizeBytes);
      randomBytes(MIB).copy(newest, 0);
      randomBytes(5 * MIB).copy(newest, 30 * MIB);
      let parent = await dynamicVhdImage(inMemory(Buffer.from(newest)), createdAt);
      await saveImage(parent, at('base.vhd'));
      let fileName = 'base.vhd';
      for (const name of ['middle.vhd', 'child.vhd']) {
        const changes = change(newest, [
          [4096, 4096],
          [2 * MIB - 512, 1024],
          [31 * MIB, 64 * KIB],
          [sizeBytes - 512, 512],
        ]);
        const child = differencingVhdImage(inMemory(Buffer.from(newest)), changes, { ...parent.identity, fileName }, createdAt);
        await saveImage(child, at(name));
        parent = child;
        fileName = name;
      }
    });

    it('is read merged by 7z', async () => {
      const { stdout } = await run('7z', ['e', '-so', at('child.vhd')], { encoding: 'buffer', maxBuffer: 2 * sizeBytes });
      expect(stdout.equals(newest)).toBe(true);
    });

    it.skipIf(!existsSync('/dev/fuse'))('is read merged by vhdimount', async ({ skip }) => {
      await mkdir(at('mount'));
      await run('vhdimount', [at('child.vhd'), at('mount')]).catch((error: unknown) => {
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

    it('is read merged by ourselves, and only over the right parent', async () => {
      let disk: VhdDisk | undefined;
      for (const name of ['base.vhd', 'middle.vhd', 'child.vhd']) disk = await openVhd(await fileSource(at(name)), disk);
      expect(Buffer.from(await disk!.read(0, sizeBytes)).equals(newest)).toBe(true);
      const base = await openVhd(await fileSource(at('base.vhd')));
      await expect(openVhd(await fileSource(at('child.vhd')), base)).rejects.toMatchObject({ code: 'vhd.parent-mismatch' });
      const alone = await openVhd(await fileSource(at('child.vhd')));
      expect(alone.parent?.name).toBe('middle.vhd');
      await expect(alone.read(0, 512)).rejects.toMatchObject({ code: 'vhd.parent-missing' });
    });
  });

  it.each([
    ['vpc', 'subformat=dynamic,force_size=on', 'vhd', 'dynamic'],
    ['vpc', 'subformat=fixed,force_size=on', 'vhd', 'fixed'],
    ['vhdx', 'subformat=dynamic,block_size=1M', 'vhdx', 'dynamic'],
    ['vhdx', 'subformat=dynamic,block_size=16M', 'vhdx', 'dynamic'],
    ['vhdx', 'subformat=fixed', 'vhdx', 'fixed'],
  ])('reads what QEMU writes as %s (%s)', async (format, options, ours, type) => {
    const raw = await SparseRaw.make(at('source.raw'), 40 * MIB, [
      [0, 4096],
      [7 * MIB, 9 * MIB],
      [40 * MIB - 4096, 4096],
    ]);
    await run('qemu-img', ['convert', '-f', 'raw', '-O', format, '-o', options, raw.path, at('disk')]);
    const source = await fileSource(at('disk'));
    expect(await inspectDisk(source)).toMatchObject({ format: ours, diskSizeBytes: raw.sizeBytes });
    const disk = ours === 'vhd' ? await openVhd(source) : await openVhdx(source);
    if (ours === 'vhd') expect(disk.type).toBe(type);
    expect(Buffer.from(await disk.read(0, disk.sizeBytes)).equals(await readFile(raw.path))).toBe(true);
  });

  it('plays the log of a VHDX as QEMU does', async () => {
    await run('qemu-img', ['create', '-q', '-f', 'vhdx', '-o', 'block_size=1M', at('disk.vhdx'), '16M']);
    await run('qemu-io', ['-f', 'vhdx', '-c', 'write -P 0x41 1M 64k', at('disk.vhdx')]);
    const file = await readFile(at('disk.vhdx'));
    makeDirty(file);
    await writeFile(at('disk.vhdx'), file);
    const disk = await openVhdx(await fileSource(at('disk.vhdx')));
    const seen = Buffer.from(await disk.read(0, disk.sizeBytes));
    expect(seen.subarray(MIB, MIB + 64 * KIB).equals(Buffer.alloc(64 * KIB, 0x41))).toBe(true);
    await run('qemu-img', ['check', '-r', 'all', '-f', 'vhdx', at('disk.vhdx')]);
    await run('qemu-img', ['convert', '-f', 'vhdx', '-O', 'raw', at('disk.vhdx'), at('disk.raw')]);
    expect(seen.equals(await readFile(at('disk.raw')))).toBe(true);
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

function inMemory(bytes: Buffer): BlockSource {
  return {
    sizeBytes: bytes.byteLength,
    read: async (offset, length) => bytes.subarray(offset, offset + length),
    extents: async (offset, length) => [{ offset, length, zero: false }],
  };
}

function change(disk: Buffer, places: ReadonlyArray<readonly [offset: number, length: number]>): ByteExtent[] {
  return places.map(([offset, length]) => {
    randomBytes(length).copy(disk, offset);
    return { offset, length };
  });
}

async function fileSource(path: string): Promise<FileSource> {
  const source = await FileSource.open(path);
  opened.push(source);
  return source;
}

const opened: FileSource[] = [];
afterEach(async () => {
  for (const source of opened.splice(0)) await source.close();
});

/** As after a crash between writing the log and its structures: the header names the log, and the block table was never written. */
function makeDirty(file: Buffer): void {
  const [header1, header2, log] = [64 * KIB, 128 * KIB, MIB];
  const newer = file.readBigUInt64LE(header1 + 8) > file.readBigUInt64LE(header2 + 8) ? header1 : header2;
  expect(file.toString('latin1', log, log + 4)).toBe('loge');
  file.copy(file, newer + 48, log + 32, log + 48);
  file.writeUInt32LE(0, newer + 4);
  file.writeUInt32LE(crc32c(file.subarray(newer, newer + 4096)), newer + 4);
  for (let descriptor = log + 64; file.toString('latin1', descriptor, descriptor + 4) === 'desc'; descriptor += 32) {
    const offset = Number(file.readBigUInt64LE(descriptor + 16));
    file.fill(0, offset, offset + 4096);
  }
}

/** Bit by bit, and so independent of the one under test. */
function crc32c(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}
