import type { DiskDefinition, VmDefinition } from '#libs/contracts/common';
import type { DiskBus, VirtualMachineDefinition } from '#libs/hypervisor';
import { MIB } from '#libs/kernel';

const BUSES: Readonly<Record<DiskBus, DiskDefinition['bus']>> = {
  'virtio-blk': 'virtio',
  'virtio-scsi': 'scsi',
  ide: 'ide',
  sata: 'sata',
  nvme: 'nvme',
};
const BOOT_ORDER_MAX = 255;

/** The hypervisor's words in the chain's, with the chain's own ordinals by device. A kernel outside the disks has no word there: such a VM is reported with an obstacle and never replicated. */
export function toVmDefinition(vm: VirtualMachineDefinition, ordinals: Readonly<Record<string, number>>): VmDefinition {
  return {
    sourceId: vm.uuid,
    name: vm.name,
    machine: 'default',
    cpuCount: vm.cpus,
    cpuModel: 'default',
    memoryBytes: vm.memoryMiB * MIB,
    firmware: vm.firmware.kind === 'uefi' ? 'uefi' : 'bios',
    secureBoot: vm.secureBoot,
    clock: vm.clock === 'local' ? 'localtime' : 'utc',
    disks: vm.disks
      .map(({ deviceId, name, sizeBytes, bus, bootOrder }) => ({
        ordinal: ordinals[deviceId]!,
        name,
        sizeBytes,
        bus: BUSES[bus],
        bootOrder: toBootOrder(bootOrder),
      }))
      .sort((a, b) => a.ordinal - b.ordinal),
    adapters: vm.adapters.map(({ mac, model, network }, at) => ({
      name: `net${at}`,
      macAddress: mac,
      model,
      network: network ?? 'none',
      bootOrder: null,
    })),
    nvramBytes: 0,
    tpmBytes: 0,
  };
}

/** QEMU counts from 0, the chain from 1. */
function toBootOrder(bootIndex: number | null): number | null {
  return bootIndex === null ? null : Math.min(bootIndex + 1, BOOT_ORDER_MAX);
}
