import { execFile, fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ManifestRef } from '#libs/chain';
import {
  exportResult,
  type Command,
  type CommandKind,
  type CommandResult,
  type ReplicaReport,
  type Report,
} from '#libs/contracts/commands';
import { MIB, newId } from '#libs/kernel';
import { FileObjectStore } from '#libs/object-store';
import { buildGuest, parseConsole } from '../../infra/guest/index.js';
import type { FromNode, ToNode } from '../support/replica-node-process.js';
import { blocksOfFile, SealedChain, type ChangedBlock } from '../support/sealed-chain.js';

const run = promisify(execFile);
const NODE_PROCESS = join(process.cwd(), 'dist/test/support/replica-node-process.js');

let directory: string;
let store: FileObjectStore;
let chain: SealedChain;
let point: ManifestRef;
let images: [string, string];

/** The replica node under test, and all that it told. */
class NodeUnderTest {
  readonly results = new Map<string, CommandResult>();
  readonly reports: Report[] = [];
  readonly screenshots = new Map<string, Buffer>();
  #seq = 0;

  private constructor(readonly child: ChildProcess) {
    child.on('message', (message: FromNode) => {
      if ('report' in message) this.reports.push(message.report);
      if ('result' in message) this.results.set(message.commandId, message.result);
      if ('screenshot' in message) this.screenshots.set(message.failoverId, Buffer.from(message.screenshot, 'base64'));
    });
  }

  static async start(): Promise<NodeUnderTest> {
    const readerKey = chain.readerKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    const log = join(directory, 'node.log');
    const child = fork(NODE_PROCESS, [join(directory, 'node'), pathToFileURL(join(directory, 'store')).href, readerKey], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // Vitest's own would lead the child to the sources.
      execArgv: [],
    });
    child.stderr!.on('data', (text: Buffer) => void writeFile(log, text, { flag: 'a' }));
    const node = new NodeUnderTest(child);
    const exited = once(child, 'exit').then(async () => {
      throw new Error(`the replica node ended: ${await readFile(log, 'utf8').catch(() => '')}`);
    });
    await Promise.race([once(child, 'message'), exited]);
    exited.catch(() => {});
    return node;
  }

  send(kind: CommandKind, payload: unknown, fields: Partial<Command> = {}): string {
    const id = newId();
    this.#seq += 1;
    const command = { id, seq: this.#seq, kind, subject: null, epoch: null, payload, createdAt: new Date().toISOString(), ...fields };
    this.child.send({ command } satisfies ToNode);
    return command.id;
  }

  async resultOf(commandId: string): Promise<CommandResult> {
    return until(`a result of ${commandId}`, () => this.results.get(commandId));
  }

  phases(failoverId: string): ReplicaReport[] {
    return this.reports.flatMap(({ replicas }) => replicas).filter((report) => report.failoverId === failoverId);
  }

  async whenIn(failoverId: string, phase: string): Promise<ReplicaReport> {
    return until(`${failoverId} to be ${phase}`, () => {
      const reports = this.phases(failoverId);
      const failure = reports.find((report) => report.phase === 'failed');
      if (failure !== undefined && phase !== 'failed') throw new Error(`${failure.code}: ${failure.message}`);
      return reports.find((report) => report.phase === phase);
    });
  }

  async end(how: NodeJS.Signals | 'keep' | 'stop-replicas'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    if (how === 'keep' || how === 'stop-replicas') this.child.send({ stop: how } satisfies ToNode);
    else this.child.kill(how);
    await gone;
  }
}

async function until<T>(what: string, look: () => T | undefined | Promise<T | undefined>, timeoutMs = 45_000): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadlineMs) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

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
    let node = await NodeUnderTest.start();
    try {
      const start = node.send('replica.start', startOf(failoverId), { subject, epoch });
      expect(await node.resultOf(start)).toMatchObject({ outcome: 'succeeded', data: { phase: 'opening' } });
      const up = await node.whenIn(failoverId, 'up');
      expect(up.console).toContain('GUEST-UP last1=0 last2=0');
      expect(up.bootMs).toBeGreaterThan(500);
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
        node = await NodeUnderTest.start();
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
    const node = await NodeUnderTest.start();
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

  it('says why a point cannot be opened', async () => {
    const node = await NodeUnderTest.start();
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
  let node: NodeUnderTest;

  beforeAll(async () => {
    node = await NodeUnderTest.start();
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
    ['vhdx', 'vhdx'],
    ['vhd', 'vpc'],
  ] as const)('as %s hold the same bytes for QEMU', async (format, driver) => {
    const { path, command, result } = await exported(`disk.${format}`, { format });
    const { stdout } = await run('qemu-img', ['compare', '-f', driver, '-F', 'raw', path, images[0]]);
    expect(stdout).toContain('Images are identical');
    expect(result).toMatchObject({ cycle: point.cycle.toString(), uniqueId: format === 'vhd' ? expect.any(String) : null });
    const repeated = await node.resultOf(node.send('point.export', command));
    expect(repeated).toMatchObject({ outcome: 'succeeded', data: result });
    expect(await readdir(join(directory, 'node/scratch'))).toEqual([]);
  });

  it('of what changed since a base are read with it by 7z', async () => {
    const base = await exported('base.vhd', { format: 'vhd', diskOrdinal: 1 });
    const changed: ChangedBlock[] = [
      [3, Buffer.alloc(65_536, 'three')],
      [900, Buffer.alloc(65_536, 'nine')],
    ];
    const next = await chain.addPoint([
      { ordinal: 0, name: 'system', sizeBytes: 512 * MIB, bus: 'virtio', bootOrder: 1, changes: [] },
      { ordinal: 1, name: 'data', sizeBytes: 128 * MIB, bus: 'virtio', bootOrder: null, changes: changed },
    ]);
    const { uniqueId, timestampSeconds } = base.result;
    const { path, result } = await exported('child.vhd', {
      format: 'vhd',
      diskOrdinal: 1,
      source: chain.source(next),
      base: { point: chain.source(point).point, fileName: 'base.vhd', uniqueId, timestampSeconds },
    });
    expect(result.sizeBytes).toBeLessThan(6 * MIB);
    const raw = await exported('whole.raw', { format: 'raw', diskOrdinal: 1, source: chain.source(next) });
    await run('7z', ['e', '-y', `-o${join(directory, 'unpacked')}`, path], { maxBuffer: 16 * MIB });
    const [unpacked] = await readdir(join(directory, 'unpacked'));
    const content = await readFile(raw.path);
    const expected = Buffer.alloc(128 * MIB);
    for (const [block, bytes] of changed) bytes!.copy(expected, block * 65_536);
    expect(content.equals(expected)).toBe(true);
    expect((await readFile(join(directory, 'unpacked', unpacked!))).equals(content)).toBe(true);
  });
});
