import { open, mkdtemp, readFile, rm, type FileHandle } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { MIB, SilentLogger, SystemClock } from '#libs/kernel';
import { probeAccelerator, QemuMachine, type MachineEvent, type QemuMachineOptions, type VirtualMachineDefinition } from '#libs/hypervisor';
import { NBD_STATE_DIRTY, NbdClient, NbdServer, type NbdExport } from '#libs/nbd';
import { buildGuest, newestTick, parseConsole } from '../../infra/guest/index.js';

// An emulated guest boots in seconds on an idle machine, and in many on a busy one.
vi.setConfig({ testTimeout: 150_000, hookTimeout: 180_000 });

const definition: VirtualMachineDefinition = {
  name: 'ledger, the replica',
  uuid: '0194a1b2-0000-7000-8000-00000000c0de',
  cpus: 1,
  memoryMiB: 256,
  firmware: { kind: 'bios' },
  secureBoot: false,
  disks: [
    { ordinal: 0, name: 'system', deviceId: 'vd0', bus: 'virtio-blk', bootOrder: 0, sizeBytes: 512 * MIB },
    { ordinal: 1, name: 'data', deviceId: 'vd1', bus: 'virtio-blk', bootOrder: null, sizeBytes: 128 * MIB },
  ],
  adapters: [{ mac: '52:54:00:c0:de:02', model: 'virtio-net' }],
  clock: 'utc',
};

const logger = new SilentLogger();
let directory: string;
let server: NbdServer;
let machine: QemuMachine | null = null;
const files: FileHandle[] = [];
/** While true every read of a disk fails. */
let isStoreAway = false;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-machine-'));
  const guest = await buildGuest({ cacheDir: join(process.cwd(), '.holdfast/guest') });
  const exports = new Map([
    ['disk-0', await serveFile(guest.systemDiskPath, 512 * MIB)],
    ['disk-1', await serveFile(guest.dataDiskPath, 128 * MIB)],
  ]);
  server = await NbdServer.listen({ socketPath: join(directory, 'nbd.sock'), exports, readOnly: true, logger });
});

afterAll(async () => {
  await machine?.kill();
  await server?.close();
  for (const file of files) await file.close();
  await rm(directory, { recursive: true, force: true });
});

async function serveFile(path: string, sizeBytes: number): Promise<NbdExport> {
  const file = await open(path, 'r');
  files.push(file);
  return {
    sizeBytes,
    read: async (offset, length) => {
      if (isStoreAway) throw new Error('the store is away');
      const bytes = Buffer.alloc(length);
      await file.read(bytes, 0, length, offset);
      return bytes;
    },
  };
}

function options(overrides: Partial<QemuMachineOptions> = {}): QemuMachineOptions {
  const disks = [0, 1].map((ordinal) => ({
    ordinal,
    nbdSocketPath: join(directory, 'nbd.sock'),
    exportName: `disk-${ordinal}`,
    overlayPath: join(directory, `overlay-${ordinal}.qcow2`),
  }));
  const qmpSocketPath = join(directory, 'qmp.sock');
  return {
    definition,
    disks,
    accelerator: 'tcg',
    qmpSocketPath,
    network: 'isolated',
    diesWithParent: true,
    logger,
    ...overrides,
  };
}

/** All that the console of every machine brought since it was last forgotten. */
let consoleText = '';

async function boots(): Promise<ReturnType<typeof parseConsole>> {
  consoleText += (await machine?.readConsole()) ?? '';
  return parseConsole(consoleText);
}

/** Waits until the guest's last boot has counted that far. */
async function waitForTick(counter: number): Promise<void> {
  await expect
    .poll(async () => (await boots()).at(-1)?.ticks.at(-1)?.counter ?? 0, { timeout: 100_000, interval: 100 })
    .toBeGreaterThanOrEqual(counter);
}

/** What it writes above the point is tracked, and its base is left alone. */
async function expectTracked(running: QemuMachine): Promise<void> {
  const tracker = await running.openTracker({ directory: join(directory, 'tracker') }, new SystemClock());
  const first = await tracker.takeSnapshot({ mark: 'a', since: null });
  expect(first.disks.map(({ deviceId, dirtyContext }) => [deviceId, dirtyContext])).toEqual([
    ['disk-0', null],
    ['disk-1', null],
  ]);
  await first.release({ keepChanges: false });
  const counter = (await boots()).at(-1)!.ticks.at(-1)!.counter;
  await waitForTick(counter + 2);
  const second = await tracker.takeSnapshot({ mark: 'b', since: 'a' });
  const { nbdSocket: socketPath, exportName, dirtyContext } = second.disks[1]!;
  const client = await NbdClient.connect({ socketPath, exportName, metaContexts: [dirtyContext!] });
  const records = await client.read(0, 64 * 4096);
  let dirtyBytes = 0;
  for await (const { length, flags } of client.extents(dirtyContext!)) if (flags === NBD_STATE_DIRTY) dirtyBytes += length;
  await client.close();
  await tracker.close();
  expect(newestTick(records).counter).toBeGreaterThan(counter);
  expect(dirtyBytes).toBeGreaterThan(0);
  expect(dirtyBytes).toBeLessThan(32 * MIB);
}

describe('a replica machine on disks served over NBD', () => {
  it('boots at once, shows its screen, and ends when killed', async () => {
    machine = await QemuMachine.start(options());
    expect(machine.state).toBe('running');
    await waitForTick(2);
    expect((await boots())[0]).toMatchObject({ last1: 0, last2: 0 });
    await expectTracked(machine);
    const picture = join(directory, 'screen.png');
    await machine.screenshot(picture);
    expect((await readFile(picture)).subarray(1, 4).toString()).toBe('PNG');
    await expect(QemuMachine.start(options({ qmpSocketPath: join(directory, 'other.sock') }))).rejects.toMatchObject({
      code: 'qemu.overlay-exists',
    });

    const events: MachineEvent[] = [];
    machine.onEvent((event) => events.push(event));
    await machine.kill();
    await machine.kill();
    expect(events).toEqual([{ state: 'shut-down', detail: 'killed' }]);
    await expect.poll(() => existsSync(`/proc/${machine!.pid}`)).toBe(false);
    expect(await QemuMachine.adopt({ qmpSocketPath: options().qmpSocketPath, logger })).toBeNull();
  });

  it('goes on from its overlays, is adopted by another process, and shuts down when asked', async () => {
    const first = await QemuMachine.start(options({ reuseOverlays: true }));
    await first.detach();
    machine = await QemuMachine.adopt({ qmpSocketPath: options().qmpSocketPath, logger });
    expect(machine?.pid).toBe(first.pid);
    expect(machine?.state).toBe('running');
    await expect.poll(async () => (await boots()).length, { timeout: 100_000, interval: 100 }).toBe(2);
    const [before, after] = await boots();
    expect(after!.last1).toBeGreaterThanOrEqual(before!.ticks.at(-1)!.counter);
    await waitForTick(after!.last1 + 1);
    const ends: MachineEvent[] = [];
    machine!.onEvent((event) => ends.push(event));
    await machine!.powerDown();
    expect(await machine!.waitForEnd()).toBe('shut-down');
    // The guest did it in order; nothing more comes from its console.
    expect(ends).toEqual([{ state: 'shut-down', detail: 'guest-shutdown' }]);
    expect(await machine!.readConsole()).toBe('');
  });

  it('stands still while its disks cannot be read, and goes on unharmed', async () => {
    for (const name of ['overlay-0.qcow2', 'overlay-1.qcow2']) await rm(join(directory, name));
    consoleText = '';
    machine = await QemuMachine.start(options());
    const events: MachineEvent[] = [];
    machine.onEvent((event) => events.push(event));
    await expect.poll(() => machine!.state, { timeout: 5000 }).toBe('running');
    isStoreAway = true;
    await expect.poll(() => machine!.state, { timeout: 60_000 }).toBe('stalled');
    isStoreAway = false;
    await machine.resume();
    await waitForTick(2);
    expect(events.map(({ state }) => state)).toEqual(['stalled', 'running']);
    process.kill(machine.pid, 'SIGKILL');
    expect(await machine.waitForEnd()).toBe('crashed');
  });

  it('tells why QEMU would not start', async () => {
    const disks = options().disks.map((disk) => ({ ...disk, exportName: 'no-such-point' }));
    const failed = QemuMachine.start(options({ disks, reuseOverlays: true }));
    await expect(failed).rejects.toMatchObject({ code: 'qemu.exited', message: expect.stringContaining('no-such-point') });
  });
});

describe('the accelerator probe', () => {
  it('answers with something that QEMU can boot under', async () => {
    expect(['kvm', 'tcg']).toContain(await probeAccelerator({ logger, timeoutMs: 2000 }));
  });
});
