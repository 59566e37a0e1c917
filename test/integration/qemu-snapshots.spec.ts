import { execFile } from 'node:child_process';
import { mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CodedError, MIB, SilentLogger, SystemClock } from '#libs/kernel';
import { QemuVm, Qmp, type ChangeTracker, type ChangeTrackerOptions, type TrackedDisk, type TrackedRead } from '#libs/hypervisor';
import { NBD_STATE_DIRTY, NBD_STATE_ZERO, NbdClient } from '#libs/nbd';
import { buildGuest, parseConsole, readGuestCounters, startGuest, type RunningGuest } from '../../infra/guest/index.js';

// An emulated guest boots in seconds on an idle machine, and in many on a busy one.
vi.setConfig({ testTimeout: 150_000, hookTimeout: 180_000 });

const run = promisify(execFile);

const UUID = '0194a1b2-0000-7000-8000-00000000c0de';
const MAC = '52:54:00:c0:de:01';

let directory: string;
let guest: RunningGuest;
let vm: QemuVm;
let tracker: ChangeTracker;
/** Raw copies of both disks, brought from point to point by what each read marks as changed. */
let replicas: [string, string];

const trackerOptions = (): ChangeTrackerOptions => ({ directory: join(directory, 'tracker') });

async function attach(options: ChangeTrackerOptions = trackerOptions()): Promise<void> {
  vm = await QemuVm.attach({ qmpSocketPath: guest.qmpSocketPath, clock: new SystemClock(), logger: new SilentLogger() });
  tracker = await vm.openTracker(options);
}

async function detach(): Promise<void> {
  await tracker.close();
  await vm.close();
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-qemu-'));
  replicas = [join(directory, 'replica1.raw'), join(directory, 'replica2.raw')];
  const built = await buildGuest({ cacheDir: join(process.cwd(), '.holdfast/guest') });
  guest = await startGuest({ guest: built, directory: join(directory, 'vm'), name: 'ledger', uuid: UUID, mac: MAC });
  await guest.waitForTick(1);
  await attach();
});

afterAll(async () => {
  await guest?.kill();
  await rm(directory, { recursive: true, force: true });
});

/** Brings the replicas to what a read lends; returns the bytes carried. */
async function carry(read: TrackedRead): Promise<number> {
  const carried = await Promise.all(read.disks.map((disk) => carryDisk(disk)));
  return carried.reduce((sum, bytes) => sum + bytes, 0);
}

async function carryDisk({ ordinal, nbdSocket, exportName, dirtyContext, sizeBytes }: TrackedDisk): Promise<number> {
  const context = dirtyContext ?? 'base:allocation';
  const client = await NbdClient.connect({ socketPath: nbdSocket, exportName, metaContexts: [context] });
  const path = replicas[ordinal]!;
  if (dirtyContext === null) {
    await writeFile(path, '');
    await truncate(path, sizeBytes);
  }
  const file = await open(path, 'r+');
  let carriedBytes = 0;
  try {
    for await (const { offset, length, flags } of client.extents(context)) {
      const isWanted = dirtyContext === null ? (flags & NBD_STATE_ZERO) === 0 : (flags & NBD_STATE_DIRTY) !== 0;
      if (!isWanted) continue;
      for (let position = offset; position < offset + length; position += MIB) {
        const bytes = await client.read(position, Math.min(MIB, offset + length - position));
        await file.write(bytes, 0, bytes.length, position);
        carriedBytes += bytes.length;
      }
    }
  } finally {
    await file.close();
    await client.close();
  }
  return carriedBytes;
}

/** A copy of the whole snapshot, made by QEMU's own tool, has the replicas' bytes. */
async function expectIdentical(read: TrackedRead): Promise<void> {
  for (const { ordinal, nbdSocket, exportName } of read.disks) {
    const url = `nbd+unix:///${exportName}?socket=${nbdSocket}`;
    const { stdout } = await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', url, replicas[ordinal]!]);
    expect(stdout).toContain('Images are identical');
  }
}

/** One point: taken, carried, compared, committed. Returns the counters that it holds. */
async function takePoint(mark: string, since: string): Promise<{ counter: number; carriedBytes: number; pauseMs: number }> {
  const read = await tracker.takeSnapshot({ mark, since });
  const carriedBytes = await carry(read);
  await expectIdentical(read);
  await read.release({ keepChanges: false });
  const { disk1, disk2 } = await readGuestCounters(...replicas);
  // The guest writes disk 1, then disk 2: a point that tore them apart would show it.
  expect([disk1.counter, disk1.counter - 1]).toContain(disk2.counter);
  return { counter: disk1.counter, carriedBytes, pauseMs: read.pauseMs };
}

async function ourNodes(): Promise<string[]> {
  const nodes = await (vm as unknown as { qmp: Qmp }).qmp.command<{ 'node-name': string }[]>('query-named-block-nodes', { flat: true });
  return nodes.map((node) => node['node-name']).filter((name) => name.startsWith('hf-'));
}

describe('a running guest with two disks', () => {
  it('is described as it was started', async () => {
    expect(await vm.definition()).toEqual({
      name: 'ledger',
      uuid: UUID,
      cpus: 1,
      memoryMiB: 256,
      firmware: { kind: 'bios' },
      secureBoot: false,
      disks: [
        { ordinal: 0, name: 'vd0', deviceId: 'vd0', bus: 'virtio-blk', bootOrder: 0, sizeBytes: 512 * MIB, format: 'raw' },
        { ordinal: 1, name: 'vd1', deviceId: 'vd1', bus: 'virtio-blk', bootOrder: null, sizeBytes: 128 * MIB, format: 'vhdx' },
      ],
      adapters: [{ mac: MAC, model: 'virtio-net', network: 'lan' }],
      clock: 'utc',
    });
    expect(await vm.powerState()).toBe('running');
    expect(await tracker.state()).toMatchObject({ lost: true, marks: [] });
  });

  it('is copied live, caught up, and held at instants that equal the copy byte for byte', async () => {
    const first = await tracker.openLive({ mark: 'm1', since: null });
    expect(await carry(first)).toBeGreaterThan(10 * MIB);
    await expect(tracker.takeSnapshot({ mark: 'x', since: 'm1' })).rejects.toMatchObject({ code: 'hypervisor.read-open' });
    await first.release({ keepChanges: false });
    const second = await tracker.openLive({ mark: 'm2', since: 'm1' });
    await carry(second);
    await second.release({ keepChanges: false });
    expect(await tracker.state()).toMatchObject({ lost: false, marks: ['m2'] });

    const points = [];
    for (const [mark, since] of [
      ['p1', 'm2'],
      ['p2', 'p1'],
      ['p3', 'p2'],
    ] as const) {
      points.push(await takePoint(mark, since));
      await guest.waitForTick(points.at(-1)!.counter + 2);
    }
    expect(points[1]!.counter).toBeGreaterThan(points[0]!.counter);
    expect(points[2]!.counter).toBeGreaterThan(points[1]!.counter);
    expect(points[2]!.carriedBytes).toBeGreaterThan(0);
    for (const { carriedBytes, pauseMs } of points) {
      expect(carriedBytes).toBeLessThan(16 * MIB);
      expect(pauseMs).toBeLessThan(1000);
    }
    expect(await ourNodes()).toEqual([]);
  });

  it('goes on when the scratch is full: the snapshot breaks, the next one carries both spans', async () => {
    await detach();
    await attach({ ...trackerOptions(), scratchLimitBytes: MIB });
    const before = (await guest.lastTick())!.counter;
    const broken = await tracker.takeSnapshot({ mark: 'b1', since: 'p3' });
    await guest.waitForTick(before + 4);
    const failure = await carry(broken).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(CodedError);
    expect(failure).toMatchObject({ code: 'nbd.request-failed' });
    await broken.release({ keepChanges: true });
    expect(await tracker.state()).toMatchObject({ marks: ['p3'] });

    await detach();
    await attach();
    const { counter } = await takePoint('p4', 'p3');
    expect(counter).toBeGreaterThanOrEqual(before + 3);
  });

  it('is unharmed by a crash in the middle of a snapshot, and tracking goes on', async () => {
    await tracker.takeSnapshot({ mark: 'c1', since: 'p4' });
    const before = (await guest.lastTick())!.counter;
    await vm.close();
    await guest.waitForTick(before + 2);

    await attach();
    expect(await ourNodes()).toEqual([]);
    expect(await readdir(join(directory, 'tracker'))).toEqual(['hf-nbd.sock']);
    expect(await tracker.state()).toMatchObject({ marks: ['p4', 'c1'], lost: false });
    await tracker.settle('p4');
    expect(await tracker.state()).toMatchObject({ marks: ['p4'] });
    await guest.waitForTick((await takePoint('p5', 'p4')).counter + 1);
    await expect(tracker.takeSnapshot({ mark: 'p6', since: 'never' })).rejects.toMatchObject({ code: 'hypervisor.tracking-lost' });
    expect(await tracker.state()).toMatchObject({ marks: ['p5'] });
  });

  it('is woken when a crash left it paused', async () => {
    await detach();
    const qmp = await Qmp.connect({ socketPath: guest.qmpSocketPath });
    await qmp.command('blockdev-add', { driver: 'null-co', 'node-name': 'hf-pausing', 'read-zeroes': true });
    await qmp.command('stop');
    qmp.close();
    await attach();
    expect(await vm.powerState()).toBe('running');
    await guest.waitForTick((await guest.lastTick())!.counter + 1);
  });

  it('gives its last changes after a shut-down, its disks equal the copy, and it can be switched on again', async () => {
    await vm.powerDown();
    await vm.waitUntilOff(AbortSignal.timeout(60_000));
    expect(await vm.powerState()).toBe('off');
    const { counter, pauseMs } = await takePoint('last', 'p5');
    expect(pauseMs).toBe(0);
    for (const [ordinal, { path, format }] of guest.disks.entries()) {
      const { stdout } = await run('qemu-img', ['compare', '-U', '-f', format, '-F', 'raw', path, replicas[ordinal]!]);
      expect(stdout).toContain('Images are identical');
    }

    await vm.powerOn();
    await guest.waitForTick(counter + 1);
    const boots = parseConsole(await readFile(guest.consoleLogPath, 'utf8'));
    expect(boots.map(({ isDown }) => isDown)).toEqual([true, false]);
    expect(boots[1]).toMatchObject({ last1: counter, last2: counter });
    await vm.turnOff();
    await vm.turnOff();
    expect(await vm.powerState()).toBe('off');
  });
});
