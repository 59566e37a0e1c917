import { describe, expect, it } from 'vitest';
import { GIB } from '#libs/kernel';
import { replicaObstacle } from './replica-obstacle.js';
import type { AdapterDefinition, DiskBus, Firmware } from './virtual-machine-definition.js';

const adapter: AdapterDefinition = { mac: '52:54:00:00:00:01', model: 'virtio-net' };

function obstacle(buses: readonly DiskBus[], firmware: Firmware = { kind: 'bios' }, adapters = [adapter]): string | null {
  const disks = buses.map((bus, ordinal) => ({ ordinal, name: 'd', deviceId: `d${ordinal}`, bus, bootOrder: null, sizeBytes: GIB }));
  return replicaObstacle({ firmware, disks, adapters });
}

const many = (count: number, bus: DiskBus): DiskBus[] => Array.from({ length: count }, () => bus);

describe('what keeps a VM from a replica node', () => {
  it('is nothing for what can be brought up, up to the last place of each bus', () => {
    expect(obstacle(['virtio-blk', 'virtio-scsi', 'nvme', 'ide'])).toBeNull();
    expect(obstacle([...many(3, 'virtio-blk'), ...many(4, 'ide')])).toBeNull();
    expect(obstacle([...many(3, 'nvme'), ...many(6, 'sata')])).toBeNull();
    expect(obstacle([...many(27, 'virtio-blk'), ...many(20, 'virtio-scsi')])).toBeNull();
  });

  it('is the firmware, or what its disks do not hold', () => {
    expect(obstacle(['virtio-blk'], { kind: 'uefi' })).toContain('UEFI');
    expect(obstacle(['virtio-blk'], { kind: 'kernel' })).toContain('boots from a kernel outside its disks');
  });

  it('is a bus that is full, or one too many', () => {
    expect(obstacle(['ide', 'sata'])).toContain('IDE and SATA');
    expect(obstacle(many(5, 'ide'))).toContain('4 IDE disks');
    expect(obstacle(many(7, 'sata'))).toContain('6 SATA disks');
    expect(obstacle([...many(28, 'virtio-blk'), 'virtio-scsi'])).toContain('29');
  });
});
