import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { collect, type Installation, maintainChain, ObjectNames, stampStore, UPKEEP_OPTIONS } from '#libs/chain';
import type { RecoveryPointView, RelationshipView, VmView } from '#libs/contracts/http';
import { asId, type ChainId, DAY_MS, MIB, NoCrashPoints, SilentLogger, SystemClock, type TenantId } from '#libs/kernel';
import { type ObjectStore, openObjectStore } from '#libs/object-store';
import { enrol, OwnPoints, type PrimaryAgent, StateDirectory } from '#libs/primary';
import { PointReader } from '#libs/replica-node';
import { PostgresChainLedger } from '#libs/replication';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { contentsOf, FileVm, startTestAgent } from '../support/primary/index.js';
import { type Person, startTestSite, type TestSite } from '../support/receiver.js';

/* An agent's host reads its own points through a real receiver, while their chain is looked after. */

let directory: string;
let database: TestDatabase;
let site: TestSite;
let store: ObjectStore;
let admin: Person;
let vm: FileVm;
let state: StateDirectory;
let agent: PrimaryAgent;
let relationship: RelationshipView;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hf-reading-'));
  database = await createTestDatabase();
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  const storeUrl = pathToFileURL(join(directory, 'store')).href;
  site = await startTestSite(database, { STORE_URL: storeUrl, RECEIVER_PORT: port, RECEIVER_URL: `https://127.0.0.1:${port}` });
  store = await openObjectStore(storeUrl);
  admin = await (await site.api.tenant('contoso')).person('admin');
  await post('/api/v1/authorization-entries', { allowedPrimaryServer: '*.contoso.test', tag: 'gold' });
  const { token } = await post<{ token: string }>('/api/v1/enrolment-tokens', { fqdnPattern: 'hv1.contoso.test', tag: 'gold' });
  const dataDir = join(directory, 'agent');
  const apiUrl = await site.api.app.listen();
  await enrol({ apiUrl, dataDir, token, fqdn: 'hv1.contoso.test', version: '0.1.0', settings: { scratchDirectory: '/tmp/scratch' } });
  state = await StateDirectory.open(dataDir);
  vm = await FileVm.create('web', directory, [6 * MIB]);
  vm.write(0, 0, randomBytes(3 * MIB));
  agent = await startTestAgent(state, [vm]);
  const found = await eventually('the VM', async () => (await get<{ items: VmView[] }>('/api/v1/vms')).items[0]);
  relationship = await post<RelationshipView>('/api/v1/relationships', { vmId: found.id });
  await points(1);
  for (let round = 1; round <= 5; round += 1) {
    vm.write(0, round * MIB, randomBytes(4096));
    await post(`/api/v1/relationships/${relationship.id}/replicate`, {});
    await points(1 + round);
  }
}, 60_000);
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

async function points(count: number): Promise<void> {
  const path = `/api/v1/relationships/${relationship.id}/recovery-points`;
  await eventually(`${count} points`, async () => (await get<{ items: RecoveryPointView[] }>(path)).items.length >= count, 20_000);
}

/** Puts segments together and takes away what that leaves behind, as if a grace had gone by since any reader was told where they are. */
async function upheave(): Promise<ObjectNames> {
  const [{ tenant_id, chain_id } = { tenant_id: '', chain_id: '' }] = await database.asSuperuser<{ tenant_id: string; chain_id: string }>(
    `select tenant_id, chain_id from replication_relationship where id = $1`,
    [relationship.id],
  );
  const address = { tenantId: asId<TenantId>(tenant_id), chainId: asId<ChainId>(chain_id) };
  const ledger = new PostgresChainLedger(database.unitOfWork);
  const { signal } = new AbortController();
  const options = { ...UPKEEP_OPTIONS, smallCount: 2, smallBytes: 16 * MIB };
  const { compactions } = await maintainChain({ ledger, store, address, options, crashPoints: new NoCrashPoints(), signal });
  expect(compactions).toBeGreaterThan(0);
  for (const table of ['chain_segment', 'chain_index'])
    await database.asSuperuser(`update ${table} set doomed_at = doomed_at - interval '2 days' where chain_id = $1`, [chain_id]);
  await database.asSuperuser(`update chain_lease set resolved_at = now() + interval '1 hour' where chain_id = $1`, [chain_id]);
  const [installation] = (await database.asSuperuser<Installation>(`select id, incarnation from installation`)) as [Installation];
  await stampStore(store, installation);
  const limits = { graceMs: DAY_MS, windowMs: 1, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 1_000 };
  expect((await collect({ ledger, store, address, installation, limits, signal })).deletedObjects).toBeGreaterThan(0);
  return new ObjectNames(address.tenantId, address.chainId);
}

it('reads on when compaction took away what it was told of, and when the indexes are gone', async () => {
  const services = { clock: new SystemClock(), logger: new SilentLogger() };
  const now = await contentsOf(vm);
  const own = await OwnPoints.of({ state, ...services });
  try {
    const leased = await own.lease(await own.find('web'), null);
    const open = (): Promise<PointReader> => PointReader.over((opening) => leased.open(opening), services);
    const expectWhole = async (reader: PointReader): Promise<void> =>
      void expect(Buffer.compare(await reader.read(0, 0, 6 * MIB), now[0]!)).toBe(0);
    const told = await open();
    const names = await upheave();
    await expectWhole(told);
    const indexed = await open();
    const indexes: string[] = [];
    for await (const { key } of store.list(`${names.prefix}x/`)) indexes.push(key);
    expect(indexes.length).toBeGreaterThan(0);
    for (const key of indexes) await store.delete(key);
    await expectWhole(indexed);
    await expectWhole(told);
    indexed.close();
    told.close();
    await leased.release();
  } finally {
    await own.close();
  }
});
