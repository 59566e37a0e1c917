export type DiskBus = 'virtio-blk' | 'virtio-scsi' | 'ide' | 'sata' | 'nvme';
export type AdapterModel = 'virtio-net' | 'e1000' | 'e1000e' | 'rtl8139' | 'vmxnet3';

/** `kernel`: the hypervisor starts a kernel from a file of its host, which no disk of the VM holds. */
export interface Firmware {
  readonly kind: 'bios' | 'uefi' | 'kernel';
}

export interface DiskDefinition {
  /** Position in discovery order. Who must never reuse an ordinal keeps its own and maps it by `deviceId`. */
  readonly ordinal: number;
  readonly name: string;
  /** The hypervisor's stable name of the device that the guest sees; the same after the VM was restarted. */
  readonly deviceId: string;
  readonly bus: DiskBus;
  /** Lower boots first; null: not a boot device. */
  readonly bootOrder: number | null;
  readonly sizeBytes: number;
  /** The format of the source's image: `raw`, `vhdx`, `vpc`, `qcow2`. A replica's disks have none. */
  readonly format?: string;
}

export interface AdapterDefinition {
  /** Lower case, with colons. */
  readonly mac: string;
  readonly model: AdapterModel;
  /** The network's name on the source, for a mapping. */
  readonly network?: string;
}

/** What it takes to bring a VM up elsewhere, apart from its disks' content. */
export interface VirtualMachineDefinition {
  readonly name: string;
  readonly uuid: string;
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly firmware: Firmware;
  readonly secureBoot: boolean;
  readonly disks: readonly DiskDefinition[];
  readonly adapters: readonly AdapterDefinition[];
  /** What the guest takes the hardware clock for. */
  readonly clock: 'utc' | 'local';
}
