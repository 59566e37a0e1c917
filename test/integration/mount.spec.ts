import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RecoveryPointView, RelationshipView, VmView } from '#libs/contracts/http';
import { ObjectNames } from '#libs/chain';
import { viewAnswer } from '#libs/contracts/wire';
import { asId, MIB, newId, SilentLogger, SystemClock, type BranchId, type ChainId, type TenantId } from '#libs/kernel';
import { EnrolledHost, RemoteObjectStore } from '#libs/peer';
import { enrol, OwnPoints, StateDirectory, type PrimaryAgent } from '#libs/primary';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { guestDisk, mountObstacle, mountsBelow } from '../support/guest-disk.js';
import { contentsOf, FileVm, startTestAgent } from '../support/primary/index.js';
import { startTestSite, type Person, type TestSite } from '../support/receiver.js';

/*
 * Points of a real receiver, read back by their own agent's host: through the library, through NBD, and as files of a mounted disk.
 */

const AGENT = fileURLToPath(new URL('../../dist/apps/agent/src/main.js', import.meta.url));

let directory: string;
let database: TestDatabase;
let site: TestSite;
let admin: Person;
let vm: FileVm;
let state: StateDirectory;
let agent: PrimaryAgent;
let relationship: RelationshipView;
/** Of the first point. */
let before: Buffer[];
const letter = randomBytes(700_001);
const running: ChildProcess[] = [];

const whyNot = mountObstacle();
const mounting = whyNot === null ? it : it.skip;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hf-mount-'));
  database = await createTestDatabase();
  const port = await freePort();
  site = await startTestSite(database, {
    STORE_URL: pathToFileURL(join(directory, 'store')).href,
    RECEIVER_PORT: port,
    RECEIVER_URL: `https://127.0.0.1:${port}`,
  });
  const contoso = await site.api.tenant('contoso');
  admin = await contoso.person('admin');
  await post('/api/v1/authorization-entries', { allowedPrimaryServer: '*.contoso.test', tag: 'gold' });
  const { token } = await post<{ token: string }>('/api/v1/enrolment-tokens', { fqdnPattern: 'hv1.contoso.test', tag: 'gold' });
  const dataDir = join(directory, 'agent');
  const apiUrl = await site.api.app.listen();
  await enrol({ apiUrl, dataDir, token, fqdn: 'hv1.contoso.test', version: '0.1.0', settings: { scratchDirectory: '/tmp/scratch' } });
  state = await StateDirectory.open(dataDir);
  vm = await FileVm.create('web', directory, [12 * MIB, 8 * MIB]);
  await fillDisks();
  agent = await startTestAgent(state, [vm]);
  const found = await eventually('the VM', async () => (await get<{ items: VmView[] }>('/api/v1/vms')).items[0]);
  relationship = await post<RelationshipView>('/api/v1/relationships', { vmId: found.id });
  before = await contentsOf(vm);
  await points(1);
  vm.write(1, 5 * MIB, randomBytes(4096));
  await post(`/api/v1/relationships/${relationship.id}/replicate`, {});
  await points(2);
}, 60_000);

afterEach(async () => {
  for (const child of running.splice(0)) {
    child.kill('SIGTERM');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
});

afterAll(async () => {
  await agent?.stop();
  await site?.close();
  await database?.drop();
  await vm?.close();
  await rm(directory, { recursive: true, force: true });
});

async function get<T>(path: string): Promise<T> {
  return (await site.api.request().get(path).set(admin.headers).expect(200)).body as T;
}

async function post<T>(path: string, body: object): Promise<T> {
  const answer = await site.api.request().post(path).set(admin.headers).send(body);
  expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
  return answer.body as T;
}

async function points(count: number): Promise<RecoveryPointView[]> {
  return eventually(
    `${count} points`,
    async () => {
      const { items } = await get<{ items: RecoveryPointView[] }>(`/api/v1/relationships/${relationship.id}/recovery-points`);
      return items.length >= count && items.toSorted((a, b) => a.sequence - b.sequence);
    },
    20_000,
  );
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Disk 0: an MBR with one partition, ext4, with files in it. Disk 1: bytes. */
async function fillDisks(): Promise<void> {
  vm.write(1, 0, randomBytes(3 * MIB));
  if (whyNot !== null) return;
  vm.write(0, 0, await guestDisk(directory, letter));
}

interface Mounting {
  readonly child: ChildProcess;
  said(): string;
  /** Until a line of its output says so, or it ends. */
  until(text: string): Promise<void>;
  end(signal: NodeJS.Signals): Promise<number | null>;
}

function mount(...args: string[]): Mounting {
  const child = spawn(process.execPath, [AGENT, 'mount', 'web', '--data', state.path, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  running.push(child);
  let said = '';
  for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => (said += text));
  const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null;
  return {
    child,
    said: () => said,
    until: async (text) => {
      await eventually(text, async () => said.includes(text) || hasEnded(), 30_000);
      expect(said).toContain(text);
    },
    end: async (signal) => {
      child.kill(signal);
      if (!hasEnded()) await once(child, 'exit');
      return child.exitCode;
    },
  };
}

describe("a host's own points", () => {
  it('are read through the receiver with the keys that the host has', async () => {
    const own = await OwnPoints.of({ state, clock: new SystemClock(), logger: new SilentLogger() });
    try {
      const web = await own.find('web');
      const listed = await own.list(web);
      expect(listed).toHaveLength(2);
      const oldest = await own.lease(web, listed.at(-1)!.id);
      const view = await oldest.open();
      for (const { ordinal, sizeBytes } of vm.disks)
        expect(Buffer.compare(await view.read(ordinal, 0, sizeBytes), before[ordinal]!)).toBe(0);
      view.close();
      const newest = await own.lease(web, null);
      expect(newest.id).toBe(listed[0]!.id);
      const after = await newest.open();
      expect(Buffer.compare(await after.read(1, 0, 8 * MIB), await vm.content(1))).toBe(0);
      after.close();
      await oldest.release();
      await newest.release();
      await expect(own.find('mail')).rejects.toMatchObject({ code: 'point.vm-unknown' });
    } finally {
      await own.close();
    }
  });

  it('lie in a store that is read by name and nothing else', async () => {
    const host = await EnrolledHost.load(state, new SystemClock(), new SilentLogger());
    try {
      const path = `/replication/v1/relationships/${relationship.id}/views/${newId()}`;
      const { tenantId, chainId, point } = viewAnswer.parse(await host.client.send({ method: 'PUT', path, json: { pointId: null } }));
      const names = new ObjectNames(asId<TenantId>(tenantId), asId<ChainId>(chainId));
      const store = new RemoteObjectStore({ client: host.client, relationshipId: relationship.id, prefix: names.prefix });
      const key = names.manifest({ ...point, branchId: asId<BranchId>(point.branchId), cycle: BigInt(point.cycle) });
      const manifest = await store.get(key);
      expect(createHash('sha256').update(manifest).digest('hex')).toBe(point.sha256);
      expect(await store.head(key)).toEqual({ sizeBytes: manifest.length });
      expect(await store.get(key, { offset: 7, length: 9 })).toEqual(manifest.subarray(7, 16));
      const outside = [
        { offset: manifest.length, length: 1 },
        { offset: manifest.length - 1, length: 2 },
      ];
      for (const range of outside) await expect(store.get(key, range)).rejects.toMatchObject({ code: 'object.range-invalid' });
      const missing = names.segment('0'.repeat(64));
      expect(await store.head(missing)).toBeNull();
      await expect(store.get(missing)).rejects.toMatchObject({ code: 'object.not-found' });
      await expect(store.get('t/elsewhere')).rejects.toMatchObject({ code: 'object.not-found' });
      const refused = { code: 'object.store-forbidden' };
      await expect(store.put()).rejects.toMatchObject(refused);
      await expect(store.delete()).rejects.toMatchObject(refused);
      await expect(store.list()[Symbol.asyncIterator]().next()).rejects.toMatchObject(refused);
    } finally {
      await host.client.close();
    }
  });

  it('are served on an NBD socket for whatever can read one', async () => {
    const served = mount('--disk', '1', '--nbd-only');
    await served.until('Ctrl-C ends it.');
    const uri = /Served read-only at (\S+)/.exec(served.said())![1]!;
    const copy = join(directory, 'copy.raw');
    // The receiver runs in this process: it must not stand still meanwhile.
    const copying = spawn('qemu-img', ['convert', '-O', 'raw', uri, copy], { stdio: 'inherit' });
    expect((await once(copying, 'exit'))[0]).toBe(0);
    expect(Buffer.compare(await readFile(copy), await vm.content(1))).toBe(0);
    expect(await served.end('SIGINT')).toBe(0);
  });

  it('say what there is when the wish is wrong', async () => {
    const wrong = mount('--disk', '7', '--nbd-only');
    await once(wrong.child, 'exit');
    expect(wrong.said()).toContain('the point has no disk 7; it has 0 (disk 0), 1 (disk 1)');
    const list = mount('--point', 'list');
    await once(list.child, 'close');
    expect(list.said().trim().split('\n')).toHaveLength(2);
  });
});

describe(`the files of a point${whyNot === null ? '' : ` (skipped here: ${whyNot})`}`, () => {
  mounting('are those that the guest wrote, until Ctrl-C', async () => {
    const place = join(directory, 'web');
    const mounted = mount(place);
    await mounted.until('Ctrl-C unmounts.');
    expect(Buffer.compare(await readFile(join(place, 'p1', 'home', 'letter')), letter)).toBe(0);
    await expect(writeFile(join(place, 'p1', 'home', 'letter'), 'no')).rejects.toMatchObject({ code: 'EROFS' });
    const second = mount(place);
    await once(second.child, 'exit');
    expect(second.said()).toContain('another holdfast mount is at');
    expect(await mounted.end('SIGINT')).toBe(0);
    expect(await readdir(place)).toEqual([]);
    expect(await mountsBelow(directory)).toEqual([]);
    expect(await readdir(join(state.path, 'mounts'))).toEqual([]);
  });

  mounting('are there again after the program was killed', async () => {
    const place = join(directory, 'web');
    const killed = mount(place);
    await killed.until('Ctrl-C unmounts.');
    await killed.end('SIGKILL');
    expect((await mountsBelow(directory)).length).toBeGreaterThan(0);
    const again = mount(place);
    await again.until('Ctrl-C unmounts.');
    expect(Buffer.compare(await readFile(join(place, 'p1', 'home', 'letter')), letter)).toBe(0);
    expect(await again.end('SIGTERM')).toBe(0);
    expect(await mountsBelow(directory)).toEqual([]);
  });

  mounting('are not put where something else is', async () => {
    const place = join(directory, 'taken');
    await mkdir(join(place, 'disk'), { recursive: true });
    await writeFile(join(place, 'disk', 'mine'), 'mine');
    const refused = mount(place);
    await once(refused.child, 'exit');
    expect(refused.said()).toContain('is not empty');
    expect(await readFile(join(place, 'disk', 'mine'), 'utf8')).toBe('mine');
    const nothing = mount(join(directory, 'second'), '--disk', '1');
    await once(nothing.child, 'exit');
    expect(nothing.said()).toContain('no known file system');
    expect(await mountsBelow(directory)).toEqual([]);
  });
});
