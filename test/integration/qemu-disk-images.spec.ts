import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KIB, MIB } from '#libs/kernel';
import { openDiskImage, openVhdx } from '#libs/vhd';
import { closeFileSources, fileSource, SparseRaw } from '../support/disk-files.js';

const run = promisify(execFile);
afterEach(closeFileSources);

describe('disk images that QEMU made', () => {
  let directory: string;
  const at = (name: string): string => join(directory, name);
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-vhd-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it.each([
    ['vpc', 'subformat=dynamic,force_size=on', [], 'vhd', 'dynamic'],
    ['vpc', 'subformat=fixed,force_size=on', [], 'vhd', 'fixed'],
    ['vpc', 'subformat=dynamic', [], 'vhd', 'dynamic'],
    ['vpc', 'subformat=fixed', [], 'vhd', 'fixed'],
    ['vhdx', 'subformat=dynamic,block_size=1M', [], 'vhdx', 'dynamic'],
    ['vhdx', 'subformat=dynamic,block_size=16M', [], 'vhdx', 'dynamic'],
    ['vhdx', 'subformat=fixed', [], 'vhdx', 'fixed'],
    ['qcow2', 'compat=1.1', [], 'qcow2', 'dynamic'],
    ['qcow2', 'compat=0.10', [], 'qcow2', 'dynamic'],
    ['qcow2', 'compat=1.1', ['-c'], 'qcow2', 'dynamic'],
    ['qcow2', 'compression_type=zstd,cluster_size=4k', ['-c'], 'qcow2', 'dynamic'],
    ['qcow2', 'compression_type=zstd,cluster_size=2M', ['-c'], 'qcow2', 'dynamic'],
    ['qcow2', 'preallocation=metadata,lazy_refcounts=on', [], 'qcow2', 'dynamic'],
  ])('reads what QEMU writes as %s (%s) %j', async (format, options, flags, ours, type) => {
    // No number of sectors that any geometry makes: without force_size, QEMU's VHD is larger than the disk.
    const raw = await SparseRaw.make(at('source.raw'), 40 * MIB + 512, [
      [0, 4096],
      [7 * MIB, 9 * MIB],
      [40 * MIB - 3584, 4096],
    ]);
    await run('qemu-img', ['convert', '-f', 'raw', '-O', format, ...flags, '-o', options, raw.path, at('disk')]);
    await run('qemu-img', ['convert', '-f', format, '-O', 'raw', at('disk'), at('seen.raw')]);
    const seen = await readFile(at('seen.raw'));
    expect(seen.subarray(0, raw.sizeBytes).equals(await readFile(raw.path))).toBe(true);
    const disk = await openDiskImage(await fileSource(at('disk')));
    // QEMU never sets the flag by which others tell a fixed VHDX.
    expect(disk.description).toMatchObject({
      format: ours,
      diskSizeBytes: seen.byteLength,
      type: ours === 'vhdx' ? expect.any(String) : type,
    });
    expect(Buffer.from(await disk.read(0, disk.sizeBytes)).equals(seen)).toBe(true);
    const rest = Buffer.from(seen);
    for (const { offset, length, zero } of await disk.extents(0, disk.sizeBytes)) if (!zero) rest.fill(0, offset, offset + length);
    expect(rest.every((byte) => byte === 0)).toBe(true);
  });

  it('reads a qcow2 that a guest has written to over a backing file', async () => {
    const raw = await SparseRaw.make(at('base.raw'), 8 * MIB, [[0, 3 * MIB]]);
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', raw.path, '-F', 'raw', at('child.qcow2'), '12M']);
    const writes = ['write -P 0x41 5k 3k', 'write -z 64k 128k', 'write -P 0x42 11M 512', 'write -c -P 0x43 1M 64k', 'discard 2M 64k'];
    await run('qemu-io', ['-f', 'qcow2', ...writes.flatMap((write) => ['-c', write]), at('child.qcow2')]);
    await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', at('child.qcow2'), at('seen.raw')]);
    const disk = await openDiskImage(await fileSource(at('child.qcow2')), { parents: [await fileSource(raw.path)] });
    expect(Buffer.from(await disk.read(0, disk.sizeBytes)).equals(await readFile(at('seen.raw')))).toBe(true);
    await expect(openDiskImage(await fileSource(at('child.qcow2')))).rejects.toMatchObject({ code: 'qcow2.parent-missing' });
  });

  it.each([
    ['encrypted', ['--object', 'secret,id=s,data=12345678', '-o', 'encrypt.format=aes,encrypt.key-secret=s'], 'qcow2.encrypted'],
    ['with its data in another file', ['-o', 'data_file=data.raw'], 'qcow2.external-data'],
    ['of smaller parts', ['-o', 'extended_l2=on'], 'qcow2.unsupported'],
  ])('refuses a qcow2 %s', async (_name, options, code) => {
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', ...options, at('disk.qcow2'), '1M'], { cwd: directory });
    await expect(openDiskImage(await fileSource(at('disk.qcow2')))).rejects.toMatchObject({ code, kind: 'invalid' });
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
