import { describe, expect, it } from 'vitest';
import { GIB } from '#libs/kernel';
import type { DiskBus, VirtualMachineDefinition } from '../virtual-machine-definition.js';
import { machineArguments } from './machine-arguments.js';

function definition(buses: readonly DiskBus[], overrides: Partial<VirtualMachineDefinition> = {}): VirtualMachineDefinition {
  return {
    name: 'a,b',
    uuid: '0194a1b2-0000-7000-8000-000000000001',
    cpus: 2,
    memoryMiB: 512,
    firmware: { kind: 'bios' },
    secureBoot: false,
    disks: buses.map((bus, ordinal) => ({ ordinal, name: 'd', deviceId: 'd', bus, bootOrder: ordinal === 0 ? 0 : null, sizeBytes: GIB })),
    adapters: [{ mac: '52:54:00:00:00:01', model: 'e1000' }],
    clock: 'local',
    ...overrides,
  };
}

function argumentsFor(vm: VirtualMachineDefinition, network: 'isolated' | 'none' = 'isolated'): string[] {
  const disks = vm.disks.map(({ ordinal }) => ({ ordinal, nbdSocketPath: '/n', exportName: 'e', overlayPath: '/o' }));
  return machineArguments({ definition: vm, disks, accelerator: 'tcg', network, qmpSocketPath: '/q', pidPath: '/p' });
}

const devices = (args: readonly string[]): Record<string, unknown>[] =>
  args.flatMap((argument, index) => (args[index - 1] === '-device' ? [JSON.parse(argument) as Record<string, unknown>] : []));

describe('the command line of a replica VM', () => {
  it('carries the definition, and no value can break out of its option', () => {
    const args = argumentsFor(definition(['virtio-blk']));
    expect(args.join(' ')).toContain(
      '-name a,,b -uuid 0194a1b2-0000-7000-8000-000000000001 -machine pc -accel tcg -cpu max -smp 2 -m 512 -rtc base=localtime',
    );
    expect(devices(args)).toEqual([
      { driver: 'virtio-blk-pci', rerror: 'stop', werror: 'stop', id: 'disk-0', drive: 'overlay-0', bootindex: 0 },
      { driver: 'e1000', id: 'adapter-0', mac: '52:54:00:00:00:01', netdev: 'net-0' },
    ]);
    expect(args).toContain('user,id=net-0,restrict=on');
  });

  it('confines QEMU, and keeps the console where it takes no disk', () => {
    const line = argumentsFor(definition([])).join(' ');
    expect(line).toContain('-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny');
    expect(line).toContain('-chardev ringbuf,id=console,size=262144 -serial chardev:console');
  });

  it('gives an adapter no cable where there is no network', () => {
    const args = argumentsFor(definition([]), 'none');
    expect(args).not.toContain('-netdev');
    expect(devices(args)).toEqual([{ driver: 'e1000', id: 'adapter-0', mac: '52:54:00:00:00:01' }]);
  });

  it('places disks on their buses', () => {
    const places = (buses: readonly DiskBus[]): unknown[] =>
      devices(argumentsFor(definition(buses, { adapters: [] }))).map(({ driver, bus, unit }) => [driver, bus, unit]);
    expect(places(['ide', 'ide', 'ide'])).toEqual([
      ['ide-hd', 'ide.0', 0],
      ['ide-hd', 'ide.0', 1],
      ['ide-hd', 'ide.1', 0],
    ]);
    expect(places(['virtio-blk', 'ide', 'virtio-blk', 'ide'])).toEqual([
      ['virtio-blk-pci', undefined, undefined],
      ['ide-hd', 'ide.0', 0],
      ['virtio-blk-pci', undefined, undefined],
      ['ide-hd', 'ide.0', 1],
    ]);
    expect(places(['virtio-scsi'])).toEqual([
      ['virtio-scsi-pci', undefined, undefined],
      ['scsi-hd', 'scsi.0', undefined],
    ]);
    expect(argumentsFor(definition(['sata']))).toContain('q35');
  });

  it('is refused for what cannot be brought up', () => {
    const refused = expect.objectContaining({ code: 'qemu.definition-unsupported' });
    expect(() => argumentsFor(definition([], { firmware: { kind: 'uefi' } }))).toThrow(refused);
    const vm = definition(['ide']);
    const options = {
      definition: vm,
      disks: [],
      accelerator: 'tcg',
      network: 'none',
      qmpSocketPath: '/q',
      pidPath: '/p',
    } as const;
    expect(() => machineArguments(options)).toThrow(refused);
  });
});
