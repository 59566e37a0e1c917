import { describe, expect, it } from 'vitest';
import { MIB } from '#libs/kernel';
import { inspectDisk } from './inspect-disk.js';
import { fileOf, MemoryDisk } from './testing/memory-disk.js';
import { qcow2Image } from './qcow2/qcow2-image.js';
import { differencingVhdImage, dynamicVhdImage, fixedVhdImage } from './vhd/vhd-image.js';
import { differencingVhdxImage, dynamicVhdxImage, fixedVhdxImage } from './vhdx/vhdx-image.js';

const createdAt = new Date('2026-01-02T03:04:05Z');
const disk = new MemoryDisk(Buffer.alloc(5 * MIB, 1));
const parentOfMany = { uniqueId: '018f0000-0000-7000-8000-000000000001', createdAt };
const inspect = (file: Buffer) => inspectDisk(new MemoryDisk(file));

describe('inspectDisk', () => {
  it('tells each format, and the size of the disk inside', async () => {
    const vhd = await dynamicVhdImage(disk, createdAt);
    const vhdChild = differencingVhdImage(disk, [], { ...vhd.identity, fileName: 'parent.vhd' }, createdAt);
    const vhdx = await dynamicVhdxImage(disk);
    const { dataWriteId } = vhdx.identity;
    const vhdxChild = differencingVhdxImage(disk, [], { dataWriteId, fileName: 'parent.vhdx' });
    const [diskSizeBytes, parent] = [5 * MIB, null];
    const id = vhd.identity.uniqueId.replaceAll('-', '');
    expect(await inspect(await fileOf(vhd))).toEqual({ format: 'vhd', type: 'dynamic', diskSizeBytes, id, parent });
    expect(await inspect(await fileOf(vhdChild))).toEqual({
      format: 'vhd',
      type: 'differencing',
      diskSizeBytes,
      id: vhdChild.identity.uniqueId.replaceAll('-', ''),
      parent: { ids: [id], paths: ['parent.vhd'], format: null },
    });
    const fixed = await inspect(await fileOf(fixedVhdImage(disk, createdAt)));
    expect(fixed).toMatchObject({ format: 'vhd', type: 'fixed', diskSizeBytes });
    expect(await inspect(await fileOf(vhdx))).toEqual({ format: 'vhdx', type: 'dynamic', diskSizeBytes, id: dataWriteId, parent });
    expect(await inspect(await fileOf(fixedVhdxImage(disk)))).toMatchObject({ format: 'vhdx', type: 'fixed', diskSizeBytes });
    expect(await inspect(await fileOf(vhdxChild))).toEqual({
      format: 'vhdx',
      type: 'differencing',
      diskSizeBytes,
      id: vhdxChild.identity.dataWriteId,
      parent: { ids: [dataWriteId], paths: ['.\\parent.vhdx', 'parent.vhdx'], format: null },
    });
    const qcow2 = await inspect(await fileOf(await qcow2Image(disk)));
    expect(qcow2).toEqual({ format: 'qcow2', type: 'dynamic', diskSizeBytes, id: null, parent });
    expect(await inspect(disk.bytes)).toEqual({ format: 'raw', type: 'fixed', diskSizeBytes, id: null, parent });
    expect(await inspect(Buffer.alloc(0))).toMatchObject({ format: 'raw', diskSizeBytes: 0 });
  });

  it('shows names that are fit to be shown', async () => {
    const file = await fileOf(differencingVhdImage(disk, [], { ...parentOfMany, fileName: 'e\u0301\u202e\n\u0007.vhd' }, createdAt));
    expect((await inspect(file)).parent?.paths).toEqual(['\u00e9.vhd']);
  });

  it('says what is wrong with a broken one', async () => {
    const file = await fileOf(await dynamicVhdxImage(disk));
    file.fill(0, 64 * 1024, 256 * 1024);
    await expect(inspect(file)).rejects.toMatchObject({ code: 'vhdx.header-broken' });
    await expect(inspect(file.subarray(0, 100))).rejects.toMatchObject({ code: 'vhdx.truncated' });
    await expect(inspect(Buffer.from('conectix'.padEnd(1024, 'x')))).rejects.toMatchObject({ code: 'vhd.checksum-mismatch' });
  });
});
