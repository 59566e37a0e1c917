import { CodedError, KIB } from '#libs/kernel';
import { replicaObstacle } from '../replica-obstacle.js';
import type { AdapterDefinition, AdapterModel, DiskBus, DiskDefinition, VirtualMachineDefinition } from '../virtual-machine-definition.js';
import type { Accelerator } from './probe-accelerator.js';

export interface MachineDiskPaths {
  readonly ordinal: number;
  readonly nbdSocketPath: string;
  readonly exportName: string;
  readonly overlayPath: string;
}

export interface MachineArgumentsOptions {
  readonly definition: VirtualMachineDefinition;
  readonly disks: readonly MachineDiskPaths[];
  readonly accelerator: Accelerator;
  readonly network: 'isolated' | 'none';
  readonly qmpSocketPath: string;
  readonly pidPath: string;
}

/** The first serial port, as the monitor knows it: it keeps its newest output in memory, so that no guest fills a disk by talking. */
export const CONSOLE_ID = 'console';
/** A power of two. */
export const CONSOLE_BYTES_MAX = 256 * KIB;

/** A guest that breaks out of its machine finds a process that can neither start another nor gain rights. */
const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

/** How long a disk's reads wait for a disk server that went away, before the guest is stopped. */
const RECONNECT_SECONDS = 60;

const ADAPTER_DEVICES: Readonly<Record<AdapterModel, string>> = {
  'virtio-net': 'virtio-net-pci',
  e1000: 'e1000',
  e1000e: 'e1000e',
  rtl8139: 'rtl8139',
  vmxnet3: 'vmxnet3',
};

/** QEMU's command line for a replica VM. The guest waits for `cont`. Error: `qemu.definition-unsupported`. */
export function machineArguments(options: MachineArgumentsOptions): string[] {
  const { definition, accelerator } = options;
  const { name, uuid, cpus, memoryMiB, disks, adapters, clock } = definition;
  const obstacle = replicaObstacle(definition);
  if (obstacle !== null) throw unsupported(obstacle);
  const hasSata = disks.some(({ bus }) => bus === 'sata');
  return [
    ['-S', '-nodefaults', '-no-user-config', '-display', 'none', '-vga', 'std'],
    ['-name', escapeCommas(name), '-uuid', uuid, '-machine', hasSata ? 'q35' : 'pc'],
    ['-accel', accelerator, '-cpu', accelerator === 'kvm' ? 'host' : 'max', '-smp', String(cpus), '-m', String(memoryMiB)],
    ['-rtc', `base=${clock === 'utc' ? 'utc' : 'localtime'}`],
    ['-sandbox', SANDBOX],
    ['-chardev', `ringbuf,id=${CONSOLE_ID},size=${CONSOLE_BYTES_MAX}`, '-serial', `chardev:${CONSOLE_ID}`],
    ['-chardev', `socket,id=qmp,path=${escapeCommas(options.qmpSocketPath)},server=on,wait=off`, '-mon', 'chardev=qmp,mode=control'],
    ['-pidfile', options.pidPath],
    disks.some(({ bus }) => bus === 'virtio-scsi') ? device({ driver: 'virtio-scsi-pci', id: 'scsi' }) : [],
    disks.flatMap((disk) => diskArguments(disk, placeOnBus(disk, disks), pathsOf(disk, options.disks))),
    adapters.flatMap((adapter, index) => adapterArguments(adapter, index, options.network)),
  ].flat();
}

/** The disk as the point holds it, never written; above it the overlay; above that the device. */
function diskArguments(disk: DiskDefinition, place: number, { nbdSocketPath, exportName, overlayPath }: MachineDiskPaths): string[] {
  const [base, overlay] = [`base-${disk.ordinal}`, `overlay-${disk.ordinal}`];
  const server = { type: 'unix', path: nbdSocketPath };
  return [
    ...blockdev({ driver: 'nbd', 'node-name': base, 'read-only': true, server, export: exportName, 'reconnect-delay': RECONNECT_SECONDS }),
    ...blockdev({
      driver: 'qcow2',
      'node-name': overlay,
      backing: base,
      discard: 'unmap',
      file: { driver: 'file', filename: overlayPath },
    }),
    ...device({
      ...busArguments(disk.bus, place),
      id: `disk-${disk.ordinal}`,
      drive: overlay,
      ...(disk.bootOrder === null ? {} : { bootindex: disk.bootOrder }),
    }),
  ];
}

/** A failed read or write stops the guest instead of reaching it, where the device knows how. */
function busArguments(bus: DiskBus, place: number): Record<string, unknown> {
  const onError = { rerror: 'stop', werror: 'stop' };
  switch (bus) {
    case 'virtio-blk':
      return { driver: 'virtio-blk-pci', ...onError };
    case 'virtio-scsi':
      return { driver: 'scsi-hd', bus: 'scsi.0', ...onError };
    case 'sata':
      return { driver: 'ide-hd', bus: `ide.${place}`, ...onError };
    case 'ide':
      return { driver: 'ide-hd', bus: `ide.${Math.floor(place / 2)}`, unit: place % 2, ...onError };
    case 'nvme':
      return { driver: 'nvme', serial: `holdfast-${place}` };
  }
}

function adapterArguments({ mac, model }: AdapterDefinition, index: number, network: 'isolated' | 'none'): string[] {
  const id = `net-${index}`;
  const common = { driver: ADAPTER_DEVICES[model], id: `adapter-${index}`, mac };
  if (network === 'none') return device(common);
  return ['-netdev', `user,id=${id},restrict=on`, ...device({ ...common, netdev: id })];
}

function placeOnBus(disk: DiskDefinition, disks: readonly DiskDefinition[]): number {
  return disks.filter(({ bus }) => bus === disk.bus).indexOf(disk);
}

function pathsOf({ ordinal }: DiskDefinition, disks: readonly MachineDiskPaths[]): MachineDiskPaths {
  const paths = disks.find((disk) => disk.ordinal === ordinal);
  if (paths === undefined) throw unsupported(`nothing is given for disk ${ordinal}`);
  return paths;
}

function blockdev(options: Readonly<Record<string, unknown>>): string[] {
  return ['-blockdev', JSON.stringify(options)];
}

function device(options: Readonly<Record<string, unknown>>): string[] {
  return ['-device', JSON.stringify(options)];
}

/** In QEMU's option strings a comma ends a value; two stand for one. */
function escapeCommas(text: string): string {
  return text.replaceAll(',', ',,');
}

function unsupported(message: string): CodedError {
  return new CodedError('qemu.definition-unsupported', 'invalid', message);
}
