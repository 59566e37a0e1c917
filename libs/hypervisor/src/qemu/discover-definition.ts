import { MIB } from '#libs/kernel';
import type { AdapterDefinition, AdapterModel, DiskBus, DiskDefinition, VirtualMachineDefinition } from '../virtual-machine-definition.js';
import { findDisks, type QemuDisk } from './block-graph.js';
import { isRefusal, type Qmp } from './qmp.js';

const ADAPTER_MODELS: Readonly<Record<string, AdapterModel>> = {
  'virtio-net-pci': 'virtio-net',
  'virtio-net-pci-non-transitional': 'virtio-net',
  'virtio-net-pci-transitional': 'virtio-net',
  e1000: 'e1000',
  e1000e: 'e1000e',
  rtl8139: 'rtl8139',
  vmxnet3: 'vmxnet3',
};

/** What a running QEMU can be asked about its VM. It does not tell how the guest takes the clock: `utc`, QEMU's default. */
export async function discoverDefinition(qmp: Qmp): Promise<VirtualMachineDefinition> {
  const { name, uuid } = await discoverIdentity(qmp);
  const cpus = await qmp.command<unknown[]>('query-cpus-fast');
  const memory = await qmp.command<{ 'base-memory': number; 'plugged-memory'?: number }>('query-memory-size-summary');
  const machineType = await qmp.command<string>('qom-get', { path: '/machine', property: 'type' });
  const disks = await findDisks(qmp);
  return {
    name,
    uuid,
    cpus: cpus.length,
    memoryMiB: Math.round((memory['base-memory'] + (memory['plugged-memory'] ?? 0)) / MIB),
    ...(await findFirmware(qmp)),
    disks: await Promise.all(disks.map((disk) => describeDisk(qmp, disk, machineType.includes('q35')))),
    adapters: await findAdapters(qmp),
    clock: 'utc',
  };
}

/** A VM without a name goes by its UUID. */
export async function discoverIdentity(qmp: Qmp): Promise<{ readonly name: string; readonly uuid: string }> {
  const { UUID: uuid } = await qmp.command<{ UUID: string }>('query-uuid');
  const { name } = await qmp.command<{ name?: string }>('query-name');
  return { name: name ?? uuid, uuid };
}

async function describeDisk(qmp: Qmp, disk: QemuDisk, isQ35: boolean): Promise<DiskDefinition> {
  const { ordinal, deviceId, devicePath, format, sizeBytes } = disk;
  const bootIndex = (await getProperty<number>(qmp, devicePath, 'bootindex')) ?? -1;
  const bus = busOf(disk.deviceType, isQ35);
  return { ordinal, name: deviceId, deviceId, bus, bootOrder: bootIndex < 0 ? null : bootIndex, sizeBytes, format };
}

function busOf(deviceType: string, isQ35: boolean): DiskBus {
  if (deviceType.startsWith('virtio-blk')) return 'virtio-blk';
  if (deviceType.startsWith('scsi')) return 'virtio-scsi';
  if (deviceType.startsWith('nvme')) return 'nvme';
  return isQ35 ? 'sata' : 'ide';
}

async function findFirmware(qmp: Qmp): Promise<Pick<VirtualMachineDefinition, 'firmware' | 'secureBoot'>> {
  const uefiFile = (await findFlashFile(qmp)) ?? (await findUefiFile(qmp));
  const secureBoot = uefiFile !== null && /secboot|\.ms\./.test(uefiFile);
  if (await getProperty<string>(qmp, '/machine', 'kernel')) return { firmware: { kind: 'kernel' }, secureBoot };
  return { firmware: { kind: uefiFile === null ? 'bios' : 'uefi' }, secureBoot };
}

/** UEFI that was given in the place of the BIOS (`-bios`) shows only by its name. */
async function findUefiFile(qmp: Qmp): Promise<string | null> {
  const file = (await getProperty<string>(qmp, '/machine', 'firmware')) ?? '';
  return /ovmf|edk2|uefi/i.test(file) ? file : null;
}

async function findFlashFile(qmp: Qmp): Promise<string | null> {
  const blocks = await qmp.command<{ device: string; inserted?: { file: string } }[]>('query-block');
  const nodeName = await getProperty<string>(qmp, '/machine', 'pflash0');
  const flash = blocks.find(({ device }) => device === 'pflash0')?.inserted?.file;
  return flash ?? (nodeName || null);
}

async function findAdapters(qmp: Qmp): Promise<AdapterDefinition[]> {
  const adapters: AdapterDefinition[] = [];
  for (const parent of ['/machine/peripheral', '/machine/peripheral-anon']) {
    const children = await qmp.command<{ name: string; type: string }[]>('qom-list', { path: parent });
    for (const { name, type } of children) {
      const model = ADAPTER_MODELS[/^child<(.+)>$/.exec(type)?.[1] ?? ''];
      if (model === undefined) continue;
      const path = `${parent}/${name}`;
      const mac = await qmp.command<string>('qom-get', { path, property: 'mac' });
      const network = await getProperty<string>(qmp, path, 'netdev');
      adapters.push({ mac: mac.toLowerCase(), model, ...(network ? { network } : {}) });
    }
  }
  return adapters;
}

/** Null where the object has no such property. */
async function getProperty<T>(qmp: Qmp, path: string, property: string): Promise<T | null> {
  try {
    return await qmp.command<T>('qom-get', { path, property });
  } catch (error) {
    if (isRefusal(error)) return null;
    throw error;
  }
}
