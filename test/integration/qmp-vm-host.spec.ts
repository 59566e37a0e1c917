import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { KIB, MIB, SilentLogger, SystemClock } from '#libs/kernel';
import { QmpVmHost, StateDirectory } from '#libs/primary';
import { eventually } from '../support/eventually.js';

/* What an agent tells of the machines on its host. They run in a real QEMU, halted before their first instruction: nothing boots. */

vi.setConfig({ testTimeout: 30_000 });

const UUID = '0194a1b2-0000-7000-8000-00000000057a';
const DISK = ['-device', 'virtio-blk-pci,drive=disk,id=vd0'];

class WarningsKept extends SilentLogger {
  readonly warnings: Record<string, unknown>[] = [];

  override warn(...[facts]: unknown[]): void {
    this.warnings.push(facts as Record<string, unknown>);
  }
}

let directory: string;
let logger: WarningsKept;
let host: QmpVmHost;
let machine: ChildProcess | null = null;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hf-host-'));
  logger = new WarningsKept();
  host = new QmpVmHost({
    sockets: [directory],
    scratchDirectory: join(directory, 'scratch'),
    scratchLimitBytes: 16 * MIB,
    state: await StateDirectory.open(join(directory, 'agent')),
    clock: new SystemClock(),
    logger,
  });
});
afterEach(async () => {
  await host.close();
  if (machine !== null && machine.exitCode === null && machine.signalCode === null) {
    machine.kill('SIGKILL');
    await once(machine, 'exit');
  }
  await rm(directory, { recursive: true, force: true });
});

async function start(...args: readonly string[]): Promise<void> {
  const common = `-S -nodefaults -display none -accel tcg -m 64 -name ledger -qmp unix:${join(directory, 'vm.qmp')},server=on,wait=off`;
  const disk = ['-blockdev', JSON.stringify({ driver: 'null-co', 'node-name': 'disk', size: MIB })];
  machine = spawn('setpriv', ['--pdeathsig', 'KILL', '--', 'qemu-system-x86_64', ...common.split(' '), ...disk, ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  await once(machine, 'spawn');
}

const found = () => eventually('the VM', async () => (await host.inventory()).vms[0]);

describe('the inventory of a host', () => {
  it('has no obstacle for a VM that boots from its disks', async () => {
    await start('-uuid', UUID, ...DISK);
    expect(await found()).toMatchObject({
      definition: { sourceId: UUID, name: 'ledger', firmware: 'bios' },
      power: 'paused',
      obstacle: null,
    });
    expect(logger.warnings).toEqual([]);
  });

  it('names the obstacle of a VM whose kernel is a file of the host', async () => {
    // As much of a Linux kernel as QEMU looks at: its mark, and the version of its boot protocol.
    const kernel = Buffer.alloc(64 * KIB);
    kernel.write('HdrS', 0x202);
    kernel.writeUInt16LE(0x0206, 0x206);
    await writeFile(join(directory, 'vmlinuz'), kernel);
    await start('-uuid', UUID, ...DISK, '-kernel', join(directory, 'vmlinuz'));
    expect(await found()).toMatchObject({ definition: { name: 'ledger' }, obstacle: 'the VM boots from a kernel outside its disks' });
  });

  it('names the obstacle of a VM with UEFI in the place of its BIOS', async () => {
    await writeFile(join(directory, 'OVMF.fd'), Buffer.alloc(64 * KIB));
    await start('-uuid', UUID, ...DISK, '-bios', join(directory, 'OVMF.fd'));
    expect(await found()).toMatchObject({ definition: { firmware: 'uefi' }, obstacle: expect.stringContaining('UEFI') });
  });

  it('keeps a VM with more network adapters than a replica can have, and says so', async () => {
    const adapters = Array.from({ length: 17 }, (_, at) => [
      '-netdev',
      `hubport,hubid=0,id=lan${at}`,
      '-device',
      `virtio-net-pci,netdev=lan${at}`,
    ]).flat();
    await start('-uuid', UUID, ...DISK, ...adapters);
    expect(await found()).toMatchObject({ definition: { name: 'ledger', adapters: [] }, obstacle: expect.stringContaining('adapters') });
  });

  it('leaves a VM without an identity out, and warns once with what mends it', async () => {
    await start(...DISK);
    const warning = await eventually('the warning', async () => (await host.inventory()) && logger.warnings[0]);
    expect(warning).toMatchObject({ vm: 'ledger', socket: join(directory, 'vm.qmp'), fault: expect.stringContaining('-uuid') });
    expect(await host.inventory()).toEqual({ vms: [] });
    expect(logger.warnings).toHaveLength(1);
  });
});
