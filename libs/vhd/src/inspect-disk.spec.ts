import { describe, expect, it } from 'vitest';
import { MIB } from '#libs/kernel';
import { inspectDisk } from './inspect-disk.js';
import { fileOf, MemoryDisk } from './testing/memory-disk.js';
import { differencingVhdImage, dynamicVhdImage } from './vhd/vhd-image.js';
import { encodeFooter } from './vhd/vhd-layout.js';
import { dynamicVhdxImage } from './vhdx/vhdx-image.js';

const createdAt = new Date('2026-01-02T03:04:05Z');
const disk = new MemoryDisk(Buffer.alloc(5 * MIB, 1));
const inspect = (file: Buffer) => inspectDisk(new MemoryDisk(file));

describe('inspectDisk', () => {
  it('tells each format, and the size of the disk inside', async () => {
    const parent = await dynamicVhdImage(disk, createdAt);
    const child = differencingVhdImage(disk, [], { ...parent.identity, fileName: 'parent.vhd' }, createdAt);
    const footer = encodeFooter({ type: 'fixed', sizeBytes: 5 * MIB, uniqueId: '', timestampSeconds: 0, headerOffset: null });
    const qcow2 = Buffer.alloc(512);
    qcow2.write('QFI\xfb', 0, 'latin1');
    qcow2.writeBigUInt64BE(BigInt(5 * MIB), 24);
    const diskSizeBytes = 5 * MIB;
    expect(await inspect(await fileOf(parent))).toEqual({ format: 'vhd', type: 'dynamic', diskSizeBytes });
    expect(await inspect(await fileOf(child))).toEqual({ format: 'vhd', type: 'differencing', diskSizeBytes });
    expect(await inspect(Buffer.concat([disk.bytes, footer]))).toEqual({ format: 'vhd', type: 'fixed', diskSizeBytes });
    expect(await inspect(await fileOf(await dynamicVhdxImage(disk)))).toEqual({ format: 'vhdx', type: 'dynamic', diskSizeBytes });
    expect(await inspect(qcow2)).toEqual({ format: 'qcow2', type: 'dynamic', diskSizeBytes });
    expect(await inspect(disk.bytes)).toEqual({ format: 'raw', type: 'fixed', diskSizeBytes });
    expect(await inspect(Buffer.alloc(0))).toEqual({ format: 'raw', type: 'fixed', diskSizeBytes: 0 });
  });

  it('says what is wrong with a broken one', async () => {
    const file = await fileOf(await dynamicVhdxImage(disk));
    file.fill(0, 64 * 1024, 256 * 1024);
    await expect(inspect(file)).rejects.toMatchObject({ code: 'vhdx.header-broken' });
    await expect(inspect(file.subarray(0, 100))).rejects.toMatchObject({ code: 'vhdx.truncated' });
    await expect(inspect(Buffer.from('conectix'.padEnd(1024, 'x')))).rejects.toMatchObject({ code: 'vhd.checksum-mismatch' });
  });
});
