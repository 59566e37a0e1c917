import type { DiskBus as ChainBus, Manifest } from '#libs/chain';
import type { AdapterModel, DiskBus, VirtualMachineDefinition } from '#libs/hypervisor';
import { MIB } from '#libs/kernel';

const BUSES: Readonly<Record<ChainBus, DiskBus>> = {
  virtio: 'virtio-blk',
  scsi: 'virtio-scsi',
  sata: 'sata',
  ide: 'ide',
  nvme: 'nvme',
};

const ADAPTERS: readonly string[] = ['virtio-net', 'e1000', 'e1000e', 'rtl8139', 'vmxnet3'] satisfies AdapterModel[];

/** The machine that a point's manifest defines, in the hypervisor's words. Its identity is the chain's: the same at each failover. */
export function replicaDefinition({ chainId, vm, disks }: Manifest): VirtualMachineDefinition {
  return {
    name: vm.name,
    uuid: chainId,
    cpus: vm.cpuCount,
    memoryMiB: Math.ceil(vm.memoryBytes / MIB),
    firmware: { kind: vm.firmware },
    secureBoot: vm.secureBoot,
    disks: disks.map(({ ordinal, name, sizeBytes, bus, bootOrder }) => ({
      ordinal,
      name,
      deviceId: `disk-${ordinal}`,
      bus: BUSES[bus],
      bootOrder,
      sizeBytes,
    })),
    // An unknown adapter becomes the one that every modern guest has a driver for.
    adapters: vm.adapters.map(({ macAddress, model, network }) => ({
      mac: macAddress,
      model: (ADAPTERS.includes(model) ? model : 'virtio-net') as AdapterModel,
      network,
    })),
    clock: vm.clock === 'utc' ? 'utc' : 'local',
  };
}
