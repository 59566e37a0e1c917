import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ChainKeys, decodeManifest, ObjectNames, openView, referenceTo } from '#libs/chain';
import type { RecoveryPointView, RelationshipView, VmView } from '#libs/contracts/http';
import { asId, MIB, type BranchId, type ChainId } from '#libs/kernel';
import { FileObjectStore } from '#libs/object-store';
import { CRASH_POINTS, enrol, StateDirectory } from '#libs/primary';
import { buildGuest, startGuest, type RunningGuest } from '../../infra/guest/index.js';
import { repeated } from '../support/counts.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { startTestSite, type Person, type TestSite, type TestTenant } from '../support/receiver.js';

// An emulated guest boots in seconds on an idle machine, and in many on a busy one.
vi.setConfig({ testTimeout: 150_000, hookTimeout: 180_000 });

const UUID = '0194a1b2-0000-7000-8000-0000000a9e47';
const MAIN = join(process.cwd(), 'dist/apps/agent/src/main.js');

/** Copies every disk of a point with QEMU's own tool: what the replica is held against. */
const HOOK = `
import { execFileSync } from 'node:child_process';
const { HOLDFAST_POINT_DISKS, HOLDFAST_CYCLE } = process.env;
for (const { ordinal, uri } of JSON.parse(HOLDFAST_POINT_DISKS)) {
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, \`\${process.argv[2]}/\${HOLDFAST_CYCLE}-\${ordinal}.raw\`]);
}`;

let directory: string;
let database: TestDatabase;
let site: TestSite;
let contoso: TestTenant;
let admin: Person;
let guest: RunningGuest;
let state: StateDirectory;
let agent: ChildProcess | null = null;
let agentLog = '';
let relationship: RelationshipView;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hf-agent-'));
  database = await createTestDatabase();
  const port = await freePort();
  const receiver = { RECEIVER_PORT: port, RECEIVER_URL: `https://127.0.0.1:${port}` };
  site = await startTestSite(database, { ...receiver, STORE_URL: pathToFileURL(join(directory, 'store')).href });
  contoso = await site.api.tenant('contoso');
  admin = await contoso.person('admin');
  await post('/api/v1/authorization-entries', { allowedPrimaryServer: '*.contoso.test', tag: 'gold' });
  const built = await buildGuest({ cacheDir: join(process.cwd(), '.holdfast/guest') });
  guest = await startGuest({ guest: built, directory: join(directory, 'vm'), name: 'ledger', uuid: UUID, mac: '52:54:00:c0:de:02' });
  await guest.waitForTick(1);
  state = await enrolHere();
});

afterAll(async () => {
  await stopAgent();
  await guest?.kill();
  await site?.close();
  await database?.drop();
  await rm(directory, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function enrolHere(): Promise<StateDirectory> {
  const { token } = await post<{ token: string }>('/api/v1/enrolment-tokens', { fqdnPattern: 'hv1.contoso.test', tag: 'gold' });
  await writeFile(join(directory, 'hook.mjs'), HOOK);
  const dataDir = join(directory, 'agent');
  await enrol({
    token,
    apiUrl: await site.api.app.listen(),
    fqdn: 'hv1.contoso.test',
    dataDir,
    version: '0.1.0',
    settings: {
      qmpSockets: [guest.qmpSocketPath],
      snapshotHook: { command: process.execPath, args: [join(directory, 'hook.mjs'), directory], timeoutMs: 60_000 },
    },
  });
  return StateDirectory.open(dataDir);
}

function startAgent(...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [MAIN, 'run', '--data', state.path, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (chunk: Buffer) => {
      agentLog += chunk.toString('utf8');
    });
  }
  agent = child;
  return child;
}

/** In order; what is left of a cycle goes back. */
async function stopAgent(): Promise<void> {
  const child = agent;
  agent = null;
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}

async function get<T>(path: string): Promise<T> {
  return (await site.api.request().get(path).set(admin.headers).expect(200)).body as T;
}

async function post<T>(path: string, body: object): Promise<T> {
  const answer = await site.api.request().post(path).set(admin.headers).send(body);
  expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
  return answer.body as T;
}

async function points(count: number): Promise<RecoveryPointView[]> {
  const path = (): string => `/api/v1/relationships/${relationship.id}/recovery-points`;
  const look = async (): Promise<RecoveryPointView[] | false> => {
    const { items } = await get<{ items: RecoveryPointView[] }>(path());
    return items.length >= count && items.toSorted((a, b) => a.sequence - b.sequence);
  };
  return eventually(`${count} points`, look, 60_000).catch((error: unknown) => {
    throw new Error(`${String(error)}; the agent's last words: ${agentLog.slice(-3000)}`);
  });
}

/** Every byte of every disk of the point, against the copy that the hook took of its snapshot. */
async function expectPoint({ branchId, sequence, cycle }: RecoveryPointView): Promise<void> {
  const store = await FileObjectStore.open(join(directory, 'store'));
  const chainId = asId<ChainId>(relationship.chainId);
  const place = { branchId: asId<BranchId>(branchId), sequence, cycle: BigInt(cycle) };
  const bytes = await store.get(new ObjectNames(contoso.id, chainId).manifest(place));
  const head = referenceTo(decodeManifest(bytes, { chainId }), createHash('sha256').update(bytes).digest('hex'));
  const [data, fingerprint] = await Promise.all([
    state.readKey(relationship.id, 'data', 1),
    state.readKey(relationship.id, 'fingerprint', 0),
  ]);
  const keys = new ChainKeys({
    chainId,
    fingerprintKey: Buffer.from(fingerprint!.key, 'base64'),
    dataKeys: new Map([[1, Buffer.from(data!.key, 'base64')]]),
  });
  const view = await openView({ store, tenantId: contoso.id, chainId, head, keys });
  expect(view.disks).toHaveLength(2);
  for (const disk of view.disks) {
    const copy = await open(join(directory, `${cycle}-${disk.ordinal}.raw`), 'r');
    const expected = Buffer.alloc(8 * MIB);
    for (let offset = 0; offset < disk.sizeBytes; offset += expected.length) {
      await copy.read(expected, 0, expected.length, offset);
      const actual = await disk.read(offset, expected.length);
      if (!actual.equals(expected)) throw new Error(`disk ${disk.ordinal} of cycle ${cycle} differs within 8 MiB from ${offset}`);
    }
    await copy.close();
  }
  view.close();
}

describe('an agent process with a running guest', () => {
  it('finds the guest, replicates it while it works, and each point is the snapshot, byte for byte', async () => {
    startAgent();
    const found = await eventually('the VM', async () => (await get<{ items: VmView[] }>('/api/v1/vms')).items[0], 20_000);
    expect(found).toMatchObject({ name: 'ledger', power: 'running', obstacle: null });
    relationship = await post<RelationshipView>('/api/v1/relationships', { vmId: found.id });
    await points(1);
    await guest.waitForTick(((await guest.lastTick())?.counter ?? 0) + 2);
    await post(`/api/v1/relationships/${relationship.id}/replicate`, {});
    const both = await points(2);
    await stopAgent();
    for (const point of both) await expectPoint(point);
  });

  it.each(repeated(CRASH_POINTS, 10))('is killed at %s, and the next point is right and small', async (crashPoint) => {
    const before = await points(1);
    await guest.waitForTick(((await guest.lastTick())?.counter ?? 0) + 1);
    const child = startAgent('--crash-at', crashPoint);
    const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
    expect(signal, agentLog.slice(-2000)).toBe('SIGKILL');
    const known = await points(before.length);
    await guest.waitForTick(((await guest.lastTick())?.counter ?? 0) + 1);
    startAgent();
    const after = await points(known.length + 1);
    await stopAgent();
    for (const point of after.slice(before.length)) await expectPoint(point);
    const { items } = await get<{ items: { kind: string }[] }>(`/api/v1/relationships/${relationship.id}/cycles`);
    // Tracking outlived every kill: nothing was read as a whole again.
    expect(items.map(({ kind }) => kind)).not.toContain('resynchronization');
    expect((await readdir(join(state.path, 'scratch'))).filter((name) => name.endsWith('.raw'))).toEqual([]);
  });
});
