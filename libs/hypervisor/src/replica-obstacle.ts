import type { DiskBus, VirtualMachineDefinition } from './virtual-machine-definition.js';

const IDE_DISKS_MAX = 4;
const SATA_DISKS_MAX = 6;
/** What the chipset and the graphics card leave free, with either chipset. */
const PCI_DEVICES_MAX = 29;

/**
 * Why a VM so defined could not be brought up on a replica node, in one sentence for people; null where it can. To be asked before a
 * VM is protected, not on the day of its failover.
 */
export function replicaObstacle({
  firmware,
  disks,
  adapters,
}: Pick<VirtualMachineDefinition, 'firmware' | 'disks' | 'adapters'>): string | null {
  const count = (bus: DiskBus): number => disks.filter((disk) => disk.bus === bus).length;
  const pciDevices = count('virtio-blk') + count('nvme') + Math.min(count('virtio-scsi'), 1) + adapters.length;
  if (firmware.kind === 'kernel') return 'the VM boots from a kernel outside its disks';
  if (firmware.kind === 'uefi') return 'UEFI firmware is not supported yet';
  if (count('ide') > 0 && count('sata') > 0) return 'IDE and SATA disks in one VM are not supported';
  if (count('ide') > IDE_DISKS_MAX) return `a VM has at most ${IDE_DISKS_MAX} IDE disks`;
  if (count('sata') > SATA_DISKS_MAX) return `a VM has at most ${SATA_DISKS_MAX} SATA disks`;
  if (pciDevices > PCI_DEVICES_MAX) return `a VM has at most ${PCI_DEVICES_MAX} disks and network adapters on its PCI bus`;
  return null;
}
