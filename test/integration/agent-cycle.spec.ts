import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { decodeManifest, maintainChain, ObjectNames, openLayers, pathOf, referenceTo, UPKEEP_OPTIONS, type ManifestRef } from '#libs/chain';
import type { RecoveryPointView, RelationshipView, VmView } from '#libs/contracts/http';
import { asId, KIB, newId, NoCrashPoints, type BranchId, type ChainId } from '#libs/kernel';
import { FileObjectStore } from '#libs/object-store';
import { enrol, StateDirectory, type PrimaryAgent } from '#libs/primary';
import { PostgresChainLedger } from '#libs/replication';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { contentsOf, createTestVm, expectPointEquals, type FileVm, type ReadingHelp, startTestAgent } from '../support/primary/index.js';
import { startTestSite, type Person, type TestSite, type TestTenant } from '../support/receiver.js';

/** A cycle is many requests: where everything is slow they take long, and nothing else is wrong. */
const DEADLINE_MS = 150_000;
vi.setConfig({ testTimeout: 2 * DEADLINE_MS });

let directory: string;
let database: TestDatabase;
let site: TestSite;
let store: FileObjectStore;
let contoso: TestTenant;
let admin: Person;
let vm: FileVm;
let state: StateDirectory;
let agent: PrimaryAgent | null = null;
let relationship: RelationshipView;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-agent-cycle-'));
  database = await createTestDatabase();
  const port = await freePort();
  site = await startTestSite(database, {
    STORE_URL: pathToFileURL(join(directory, 'store')).href,
    RECEIVER_PORT: port,
    RECEIVER_URL: `https://127.0.0.1:${port}`,
  });
  store = await FileObjectStore.open(join(directory, 'store'));
  contoso = await site.api.tenant('contoso');
  admin = await contoso.person('admin');
  await post('/api/v1/authorization-entries', { allowedPrimaryServer: '*.contoso.test', tag: 'gold' });
  vm = await createTestVm(directory);
});

afterAll(async () => {
  await agent?.stop();
  await site?.close();
  await database?.drop();
  await vm?.close();
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
    DEADLINE_MS,
  );
}

/** The store alone says which bytes a point's manifest has. */
async function refOf({ branchId, sequence, cycle }: RecoveryPointView): Promise<ManifestRef> {
  const place = { branchId: asId<BranchId>(branchId), sequence, cycle: BigInt(cycle) };
  const chainId = asId<ChainId>(relationship.chainId);
  const bytes = await store.get(new ObjectNames(contoso.id, chainId).manifest(place));
  return referenceTo(decodeManifest(bytes, { chainId }), createHash('sha256').update(bytes).digest('hex'));
}

async function expectPoint(point: RecoveryPointView, contents: readonly Buffer[], help: ReadingHelp = {}): Promise<void> {
  const address = { id: relationship.id, tenantId: contoso.id, chainId: relationship.chainId };
  await expectPointEquals(store, address, await refOf(point), state, contents, help);
}

describe('an agent before the real receiver', () => {
  it('enrols with a token, and believes nobody whom the token does not pin', async () => {
    const apiUrl = await site.api.app.listen();
    const { token } = await post<{ token: string }>('/api/v1/enrolment-tokens', { fqdnPattern: 'hv1.contoso.test', tag: 'gold' });
    const dataDir = join(directory, 'agent');
    const options = { apiUrl, dataDir, version: '0.1.0', settings: { scratchDirectory: '/tmp/scratch' } };
    await expect(enrol({ ...options, token, fqdn: 'hv9.contoso.test' })).rejects.toMatchObject({ code: 'enrolment.host-not-allowed' });
    const config = await enrol({ ...options, token, fqdn: 'hv1.contoso.test' });
    expect(config).toMatchObject({ tenantId: contoso.id, fqdn: 'hv1.contoso.test', tag: 'gold', scratchDirectory: '/tmp/scratch' });
    await expect(enrol({ ...options, token, fqdn: 'hv1.contoso.test' })).rejects.toMatchObject({ code: 'host.enrolled-already' });
    state = await StateDirectory.open(dataDir);
    const identity = (await state.readIdentity())!;
    expect(identity.receiverUrls).toEqual([site.receiverUrl]);
    // One that is down stands before it from here on.
    await state.writeIdentity({ ...identity, receiverUrls: ['https://127.0.0.1:9', site.receiverUrl] });
  });

  it('tells of its VM, replicates it when asked to, and every point is right', async () => {
    agent = await startTestAgent(state, [vm]);
    const found = await eventually('the VM', async () => (await get<{ items: VmView[] }>('/api/v1/vms')).items[0], DEADLINE_MS);
    expect(found.definition.disks).toHaveLength(2);
    relationship = await post<RelationshipView>('/api/v1/relationships', { vmId: found.id });
    const [first] = await points(1);
    const before = await contentsOf(vm);
    await expectPoint(first!, before);

    vm.write(0, 200 * KIB, randomBytes(90_000));
    vm.write(1, 0, Buffer.alloc(64 * KIB));
    const after = await contentsOf(vm);
    await post(`/api/v1/relationships/${relationship.id}/replicate`, {});
    const both = await points(2);
    await expectPoint(both[1]!, after);
    await expectPoint(both[0]!, before);
    expect((await get<RelationshipView>(`/api/v1/relationships/${relationship.id}`)).state).toBe('Replicating');
  });

  it('sends whole what costs more than twice what it shows, and that costs less then', async () => {
    const chain = { tenantId: contoso.id, chainId: asId<ChainId>(relationship.chainId) };
    const ledger = new PostgresChainLedger(database.unitOfWork);
    const { signal } = new AbortController();
    const upkeep = { ledger, store, address: chain, options: UPKEEP_OPTIONS, crashPoints: new NoCrashPoints(), signal };
    const cycle = async (): Promise<RecoveryPointView> => {
      const known = (await points(1)).length;
      await post(`/api/v1/relationships/${relationship.id}/replicate`, {});
      return (await points(known + 1)).at(-1)!;
    };
    const forgetAllBut = async (point: RecoveryPointView): Promise<void> => {
      for (const { id } of await points(1))
        if (id !== point.id) await database.asSuperuser(`delete from recovery_point where id = $1`, [id]);
      await maintainChain(upkeep);
    };
    /** What of this block is stored that the newest point shows. */
    const costOf = async (block: number): Promise<{ records: number; bytes: number }> => {
      const { lineage, kept, indexes, replacements } = await ledger.read(chain);
      const newest = [...kept].reduce((a, b) => (a > b ? a : b));
      const path = pathOf(lineage, lineage.find(({ ref }) => ref.cycle === newest)!.ref);
      const replaced = new Map(replacements.map(({ segment, by }) => [segment, by]));
      const { stack } = await openLayers({
        ...chain,
        store,
        head: path[0]!,
        below: null,
        indexes,
        known: path,
        replacements: replaced,
        signal,
      });
      const places = (await stack.page(0, 0)).recordsOf(block);
      return { records: places.length, bytes: places.reduce((sum, { length }) => sum + length, 0) };
    };
    for (let window = 0; window <= 5; window += 1) {
      vm.write(0, 20 * 64 * KIB + window * 4 * KIB, randomBytes(44 * KIB));
      await cycle();
    }
    await forgetAllBut((await points(1)).at(-1)!);
    const before = await costOf(20);
    expect(before.records).toBeGreaterThan(5);
    expect(before.bytes).toBeGreaterThan(3 * 64 * KIB);
    const contents = await contentsOf(vm);
    const whole = await cycle();
    await forgetAllBut(whole);
    const after = await costOf(20);
    expect(after.records).toBe(1);
    expect(after.bytes).toBeLessThan(65 * KIB);
    expect((await ledger.read(chain)).askedBytes).toBe(64 * KIB);
    const { replacements, indexes } = await ledger.leaseView({
      ...chain,
      id: newId(),
      root: await refOf(whole),
      holder: 'a test',
      ttlMs: 60_000,
    });
    await expectPoint(whole, contents, { indexes, replacements: new Map(replacements.map(({ segment, by }) => [segment, by])) });
  });

  it('renews its certificate in time, and goes on with it', async () => {
    const before = (await state.readIdentity())!;
    await agent!.stop();
    await state.writeIdentity({ ...before, renewAfter: new Date().toISOString() });
    agent = await startTestAgent(state, [vm]);
    const renewed = await eventually(
      'the renewal',
      async () => {
        const identity = await state.readIdentity();
        return identity?.generation === 2 && identity;
      },
      DEADLINE_MS,
    );
    expect(renewed.certificateChain).not.toBe(before.certificateChain);
    expect(await state.readNextIdentity()).toBeNull();
    const known = (await points(2)).length;
    await post(`/api/v1/relationships/${relationship.id}/replicate`, {});
    const all = await points(known + 1);
    await expectPoint(all.at(-1)!, await contentsOf(vm));
  });

  it('resynchronizes after lost tracking without losing a point', async () => {
    await agent!.stop();
    const before = await contentsOf(vm);
    const known = await points(1);
    vm.loseTracking();
    vm.write(0, 0, randomBytes(10_000));
    agent = await startTestAgent(state, [vm]);
    const all = await points(known.length + 1);
    await expectPoint(all.at(-1)!, await contentsOf(vm));
    await expectPoint(known.at(-1)!, before);
    expect((await get<RelationshipView>(`/api/v1/relationships/${relationship.id}`)).state).toBe('Replicating');
  });

  it('lets no key in the clear leave the host', async () => {
    const key = await state.readKey(relationship.id, 'data', 1);
    const names: string[] = [];
    for await (const { key: name } of store.list(`t/${contoso.id}/`)) names.push(name);
    const isWrapped = (name: string): boolean => name.startsWith(`t/${contoso.id}/c/${relationship.chainId}/k/`);
    expect(names.filter(isWrapped)).toHaveLength(2);
    for (const name of names) expect((await store.get(name)).includes(Buffer.from(key!.key, 'base64'))).toBe(false);
  });

  it("begins a new data key when asked, and wraps it to the tenant's next key", async () => {
    const next = async (): Promise<void> => {
      const known = (await points(1)).length;
      await post(`/api/v1/relationships/${relationship.id}/replicate`, {});
      const all = await points(known + 1);
      await expectPoint(all.at(-1)!, await contentsOf(vm));
    };
    vm.write(0, 0, randomBytes(10_000));
    await post(`/api/v1/relationships/${relationship.id}/data-keys`, {});
    await next();
    const { items } = await post<{ items: { publicKeySha256: string }[] }>('/api/v1/keys', { holder: 'provider' });
    vm.write(0, 50_000, randomBytes(10_000));
    await post(`/api/v1/relationships/${relationship.id}/data-keys`, {});
    await next();
    const rows = await database.asSuperuser<{ generation: number; is_new: boolean }>(
      `select generation, recipient = $2 as is_new from chain_key where chain_id = $1 and kind = 'data' order by generation`,
      [relationship.chainId, items[0]!.publicKeySha256],
    );
    expect(rows).toEqual([1, 2, 3].map((generation) => ({ generation, is_new: generation === 3 })));
    expect((await state.readConfig())!.tenantKey).toBeDefined();
  });

  it('forgets keys and marks when replication is removed, and the VM can be replicated anew', async () => {
    await remove();
    await untilForgotten();
    expect(agent!.status.relationships).toEqual([]);
    relationship = await post<RelationshipView>('/api/v1/relationships', { vmId: relationship.vmId });
    const [first] = await points(1);
    await expectPoint(first!, await contentsOf(vm));
    expect(await state.relationshipIds()).toEqual([relationship.id]);
  });

  it('forgets them also when it was away at the removal', async () => {
    await agent!.stop();
    await remove();
    expect(vm.marks.size).toBe(1);
    agent = await startTestAgent(state, [vm]);
    await untilForgotten();
  });
});

async function remove(): Promise<void> {
  await site.api.request().delete(`/api/v1/relationships/${relationship.id}`).set(admin.headers).expect(204);
}

async function untilForgotten(): Promise<void> {
  const isForgotten = async (): Promise<boolean> => vm.marks.size === 0 && (await state.relationshipIds()).length === 0;
  await eventually('the marks and the keys to go', isForgotten, DEADLINE_MS);
}
