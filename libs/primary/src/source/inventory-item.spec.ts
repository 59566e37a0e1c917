import { describe, expect, it } from 'vitest';
import { inventoryReport } from '#libs/contracts/wire';
import type { VirtualMachineDefinition } from '#libs/hypervisor';
import { GIB } from '#libs/kernel';
import { toInventoryItem } from './inventory-item.js';

const found: VirtualMachineDefinition = {
  name: 'web',
  uuid: '0194a1b2-0000-7000-8000-000000000001',
  cpus: 2,
  memoryMiB: 512,
  firmware: { kind: 'bios' },
  secureBoot: false,
  disks: [{ ordinal: 0, name: 'vd0', deviceId: 'vd0', bus: 'virtio-blk', bootOrder: 0, sizeBytes: GIB }],
  adapters: [{ mac: '52:54:00:00:00:01', model: 'virtio-net', network: 'lan' }],
  clock: 'utc',
};

const item = (changes: Partial<VirtualMachineDefinition> = {}) => toInventoryItem({ ...found, ...changes }, { vd0: 3 }, 'running');

describe('what is told of a VM', () => {
  it('is its definition in the words of the chain, without an obstacle where there is none', () => {
    expect(item()).toMatchObject({
      definition: { sourceId: found.uuid, name: 'web', firmware: 'bios', disks: [{ ordinal: 3, bus: 'virtio', bootOrder: 1 }] },
      power: 'running',
      obstacle: null,
    });
  });

  it('names what a replica node could not bring up', () => {
    expect(item({ firmware: { kind: 'kernel' } })).toMatchObject({ obstacle: 'the VM boots from a kernel outside its disks' });
    expect(item({ firmware: { kind: 'uefi' } })).toMatchObject({
      definition: { firmware: 'uefi' },
      obstacle: expect.stringContaining('UEFI'),
    });
  });

  it('keeps a VM with an unfit part in the report, and names the part', () => {
    const adapters = Array.from({ length: 17 }, () => found.adapters[0]!);
    const told = item({ adapters, cpus: 4096 });
    expect(told).toMatchObject({
      definition: { name: 'web', adapters: [], cpuCount: 1, memoryBytes: GIB / 2 },
      obstacle: expect.stringMatching(/cpuCount.*adapters/),
    });
    expect(inventoryReport.safeParse({ vms: [told] }).success).toBe(true);
  });

  it('says what is wrong with a VM that cannot be named, and what mends it', () => {
    expect(item({ uuid: '00000000-0000-0000-0000-000000000000' })).toEqual({ fault: expect.stringContaining('-uuid') });
    expect(item({ disks: [] })).toEqual({ fault: expect.stringContaining('no disk') });
    expect(item({ name: 'a\u0007b' })).toEqual({ fault: expect.stringContaining('its name is not supported') });
  });
});
