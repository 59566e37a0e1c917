import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ManifestRef } from '#libs/chain';
import { exportResult } from '#libs/contracts/commands';
import { MIB, newId } from '#libs/kernel';
import { FileObjectStore } from '#libs/object-store';
import { buildGuest, parseConsole } from '../../infra/guest/index.js';
import { ReplicaNodeUnderTest, until } from '../support/replica-node-under-test.js';
import { blocksOfFile, SealedChain, type ChangedBlock } from '../support/sealed-chain.js';

const run = promisify(execFile);

let directory: string;
let store: FileObjectStore;
let chain: SealedChain;
let point: ManifestRef;
let images: [string, string];

const startNode = (): Promise<ReplicaNodeUnderTest> => ReplicaNodeUnderTest.start(directory, chain.readerKey);

/** Process ids of machines that belong to the node under test. */
async function machines(): Promise<number[]> {
  const pids: number[] = [];
  for (const name of await readdir('/proc')) {
    const commandLine = /^\d+$/.test(name) ? await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '') : '';
    if (commandLine.startsWith('qemu-system') && commandLine.includes(join(directory, 'node'))) pids.push(Number(name));
  }
  return pids;
}

/** Clients that the disk server has now. */
async function diskConnections(): Promise<number> {
  const sockets = (await readFile('/proc/net/unix', 'utf8'))
    .split('\n')
    .filter((line) => line.includes(join(directory, 'node')) && line.endsWith('.nbd'));
  // Column 6 is the state: 3 is connected.
  return sockets.filter((line) => line.split(/\s+/)[5] === '03').length;
}

const consoleOf = (failoverId: string): Promise<string> =>
  readFile(join(directory, 'node/replicas', failoverId, 'console.log'), 'utf8').catch(() => '');
const newestTick = async (failoverId: string): Promise<number> =>
  parseConsole(await consoleOf(failoverId))
    .at(-1)
    ?.ticks.at(-1)?.counter ?? 0;

const startOf = (failoverId: string, source = chain.source(point)) => ({
  failoverId,
  type: 'Test',
  source,
  network: 'isolated',
  bootDeadlineMs: 50_000,
});

/** A guest that does nothing but write to its serial port, as fast as it can: `mov dx, 0x3f8; mov al, 'x'; again: out dx, al; jmp again`. */
async function babbler(): Promise<ReturnType<SealedChain['source']>> {
  const block = Buffer.alloc(65_536);
  block.write('baf803b078eeebfd', 'hex');
  block.write('55aa', 510, 'hex');
  const disk = { ordinal: 0, name: 'system', sizeBytes: MIB, bus: 'virtio', bootOrder: 1, changes: [[0, block]] } as const;
  const own = new SealedChain(store, chain.readerKey);
  return own.source(await own.addPoint([disk]));
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hf-node-'));
  const guest = await buildGuest({ cacheDir: join(process.cwd(), '.holdfast/guest') });
  images = [guest.systemDiskPath, guest.dataDiskPath];
  store = await FileObjectStore.open(join(directory, 'store'));
  chain = new SealedChain(store);
  point = await chain.addPoint([
    { ordinal: 0, name: 'system', sizeBytes: 512 * MIB, bus: 'virtio', bootOrder: 1, changes: blocksOfFile(images[0]) },
    { ordinal: 1, name: 'data', sizeBytes: 128 * MIB, bus: 'virtio', bootOrder: null, changes: blocksOfFile(images[1]) },
  ]);
});

afterAll(async () => {
  for (const pid of await machines()) process.kill(pid, 'SIGKILL');
  await rm(directory, { recursive: true, force: true });
});

describe('a replica node', () => {
  it('boots a point at once from the store, outlives its own kill -9, and leaves nothing when told to stop', async () => {
    const failoverId = newId();
    const subject = newId();
    const epoch = { incarnation: 1, counter: 2 };
    let node = await startNode();
    try {
      const start = node.send('replica.start', startOf(failoverId), { subject, epoch });
      expect(await node.resultOf(start)).toMatchObject({ outcome: 'succeeded', data: { phase: 'opening' } });
      const up = await node.whenIn(failoverId, 'up');
      expect(up.console).toContain('GUEST-UP last1=0 last2=0');
      expect(up.bootMs).toBeGreaterThan(500);
      expect(up.proof).toBe('console-pattern');
      expect(
        node
          .phases(failoverId)
          .map(({ phase }) => phase)
          .filter((phase, at, all) => phase !== all[at - 1]),
      ).toEqual(['opening', 'booting', 'up']);
      const png = await until('a screenshot', () => node.screenshots.get(failoverId));
      expect(png.subarray(0, 8)).toEqual(Buffer.from('89504e470d0a1a0a', 'hex'));
      expect(await machines()).toHaveLength(1);

      const again = node.send('replica.start', startOf(failoverId), { subject, epoch });
      expect(await node.resultOf(again)).toMatchObject({ outcome: 'succeeded', data: { phase: 'up' } });
      const stale = node.send('replica.stop', { failoverId }, { subject, epoch: { incarnation: 1, counter: 1 } });
      expect(await node.resultOf(stale)).toMatchObject({ outcome: 'failed', code: 'command.stale-epoch' });
      expect(await machines()).toHaveLength(1);

      const pids = await machines();
      for (const how of ['SIGKILL', 'keep'] as const) {
        const tickBefore = await until('the first ticks', async () => (await newestTick(failoverId)) || undefined);
        await node.end(how);
        node = await startNode();
        await node.whenIn(failoverId, 'up');
        expect(await machines()).toEqual(pids);
        await until('the guest to go on', async () => ((await newestTick(failoverId)) >= tickBefore + 2 ? true : undefined));
        await until('a disk to be read from the new server', async () => ((await diskConnections()) > 0 ? true : undefined));
      }
      expect(parseConsole(await consoleOf(failoverId))).toHaveLength(1);
      expect(node.reports.at(-1)!.capacity).toMatchObject({ accelerator: 'tcg', replicas: [failoverId] });

      const stop = node.send('replica.stop', { failoverId }, { subject, epoch });
      expect(await node.resultOf(stop)).toMatchObject({ outcome: 'succeeded' });
      await node.whenIn(failoverId, 'stopped');
      expect(await machines()).toEqual([]);
      expect(existsSync(join(directory, 'node/replicas', failoverId))).toBe(false);
    } finally {
      await node.end('stop-replicas');
    }
  });

  it('lets a guest wait, unharmed, while the store is away', async () => {
    const node = await startNode();
    try {
      const failoverId = newId();
      node.send('replica.start', startOf(failoverId));
      await node.whenIn(failoverId, 'booting');
      await until('the guest to begin', async () => (await machines()).length === 1 || undefined);
      await rename(join(directory, 'store'), join(directory, 'away'));
      try {
        await until('the guest to stand still', () => node.phases(failoverId).find(({ code }) => code === 'replica.stalled'));
      } finally {
        await rename(join(directory, 'away'), join(directory, 'store'));
      }
      const up = await node.whenIn(failoverId, 'up');
      expect(up).toMatchObject({ code: null, console: expect.stringContaining('GUEST-UP last1=0 last2=0') as unknown });
    } finally {
      await node.end('stop-replicas');
    }
    expect(await machines()).toEqual([]);
  });

  it('leaves a guest running that shows no life in a real failover, bounds its console, and fails it in a test', async () => {
    const node = await startNode();
    try {
      const [real, test] = [newId(), newId()];
      const source = await babbler();
      node.send('replica.start', { ...startOf(real, source), type: 'Unplanned', bootDeadlineMs: 2000 });
      const up = await node.whenIn(real, 'up');
      expect(up).toMatchObject({ proof: null, bootMs: null, code: 'boot.no-sign' });
      await until('a picture all the same', () => node.screenshots.get(real));
      node.send('replica.start', { ...startOf(test, source), bootDeadlineMs: 2000 });
      expect(await node.whenIn(test, 'failed')).toMatchObject({ code: 'replica.boot-timeout', proof: null });
      await until('the flood to be kept', async () => (await consoleOf(real)).length > 60_000 || undefined);
      expect((await consoleOf(real)).length).toBeLessThanOrEqual(128 * 1024);
      expect(await machines()).toHaveLength(1);
    } finally {
      await node.end('stop-replicas');
    }
    expect(await machines()).toEqual([]);
  });

  it('takes a sign of life also after the deadline of a real failover', async () => {
    const node = await startNode();
    try {
      const failoverId = newId();
      node.send('replica.start', { ...startOf(failoverId), type: 'Unplanned', bootDeadlineMs: 1000 });
      expect(await node.whenIn(failoverId, 'up')).toMatchObject({ proof: null, code: 'boot.no-sign' });
      const proven = await until('a proof', () => node.phases(failoverId).find(({ proof }) => proof !== null));
      expect(proven).toMatchObject({ phase: 'up', proof: 'console-pattern', code: null, message: null });
      expect(proven.bootMs).toBeGreaterThan(1000);
    } finally {
      await node.end('stop-replicas');
    }
  });

  it('says why a point cannot be opened', async () => {
    const node = await startNode();
    try {
      const failoverId = newId();
      const stranger = new SealedChain(store);
      const source = { ...chain.source(point), keys: stranger.source(point).keys };
      node.send('replica.start', startOf(failoverId, source));
      expect(await node.whenIn(failoverId, 'failed')).toMatchObject({ code: 'keys.unwrap-failed', bootMs: null });
      expect(await machines()).toEqual([]);
    } finally {
      await node.end('stop-replicas');
    }
  });
});

describe('exports', () => {
  const KEY = 't/exports/file';
  let node: ReplicaNodeUnderTest;

  beforeAll(async () => {
    node = await startNode();
  });

  afterAll(async () => {
    await node.end('stop-replicas');
  });

  async function exported(name: string, payload: Record<string, unknown>) {
    const objectKey = `${KEY}-${name}`;
    const command = { exportId: newId(), source: chain.source(point), diskOrdinal: 0, base: null, objectKey, ...payload };
    const result = await node.resultOf(node.send('point.export', command));
    expect(result).toMatchObject({ outcome: 'succeeded' });
    const path = join(directory, name);
    await writeFile(path, await store.get(objectKey));
    return { path, command, result: exportResult.parse(result.data) };
  }

  it.each([
    ['vhdx', 'vhdx', 0],
    ['vhd', 'vpc', 0],
    ['qcow2', 'qcow2', 0],
    ['fixed-vhdx', 'vhdx', 1],
    ['fixed-vhd', 'vpc', 1],
  ] as const)('as %s hold the same bytes for QEMU', async (format, driver, diskOrdinal) => {
    const { path, command, result } = await exported(`disk.${format}`, { format, diskOrdinal });
    const { stdout } = await run('qemu-img', ['compare', '-f', driver, '-F', 'raw', path, images[diskOrdinal]]);
    expect(stdout).toContain('Images are identical');
    expect(result).toMatchObject({ cycle: point.cycle.toString(), uniqueId: format === 'qcow2' ? null : expect.any(String) });
    const repeated = await node.resultOf(node.send('point.export', command));
    expect(repeated).toMatchObject({ outcome: 'succeeded', data: result });
    expect(await readdir(join(directory, 'node/scratch'))).toEqual([]);
  });

  it.each(['vhd', 'vhdx'] as const)('of what changed since a base are read with it by 7z, as %s', async (format) => {
    const base = await exported(`base.${format}`, { format, diskOrdinal: 1 });
    const changed: ChangedBlock[] = [
      [3, Buffer.alloc(65_536, 'three')],
      [900, Buffer.alloc(65_536, 'nine')],
    ];
    const next = await chain.addPoint([
      { ordinal: 0, name: 'system', sizeBytes: 512 * MIB, bus: 'virtio', bootOrder: 1, changes: [] },
      { ordinal: 1, name: 'data', sizeBytes: 128 * MIB, bus: 'virtio', bootOrder: null, changes: changed },
    ]);
    const { uniqueId, timestampSeconds } = base.result;
    const { path, result } = await exported(`child.${format}`, {
      format,
      diskOrdinal: 1,
      source: chain.source(next),
      base: { point: chain.source(point).point, fileName: `base.${format}`, uniqueId, timestampSeconds },
    });
    expect(result.sizeBytes).toBeLessThan(10 * MIB);
    const raw = await exported(`whole-${format}.raw`, { format: 'raw', diskOrdinal: 1, source: chain.source(next) });
    await run('7z', ['e', '-y', `-o${join(directory, `unpacked-${format}`)}`, path], { maxBuffer: 16 * MIB });
    const [unpacked] = await readdir(join(directory, `unpacked-${format}`));
    const content = await readFile(raw.path);
    const expected = Buffer.alloc(128 * MIB);
    for (const [block, bytes] of changed) bytes!.copy(expected, block * 65_536);
    expect(content.equals(expected)).toBe(true);
    expect((await readFile(join(directory, `unpacked-${format}`, unpacked!))).equals(content)).toBe(true);
  });
});
