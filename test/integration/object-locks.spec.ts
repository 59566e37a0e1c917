import { afterAll, beforeAll, expect, it } from 'vitest';
import { ObjectNames } from '#libs/chain';
import { replicationPolicy } from '#libs/contracts/wire';
import { DAY_MS, HOUR_MS, newId, SilentLogger } from '#libs/kernel';
import { MemoryObjectStore, type ObjectStore, openObjectStore, putBytes, WrappedObjectStore } from '#libs/object-store';
import { LockPromisedObjects } from '#libs/replication';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { ProtectedVm } from '../support/protected-vm.js';
import { type Person, startTestSite, type TestSite } from '../support/receiver.js';
import type { TestTenant } from '../support/api.js';

/* Which objects the worker locks in a store that can, and for how long, for points that were promised to stay. */

let database: TestDatabase;
let site: TestSite;
let tenant: TestTenant;
let admin: Person;
let vm: ProtectedVm;
let plain: ObjectStore;
let locks: Map<string, Date>;

/** The site's own store, as if it could lock. */
class LockingStore extends WrappedObjectStore {
  override async locking() {
    return 'compliance' as const;
  }
  override async lock(key: string, until: Date): Promise<void> {
    if ((await this.head(key)) === null) throw new Error(`there is no ${key}`);
    locks.set(key, new Date(Math.max(until.getTime(), locks.get(key)?.getTime() ?? 0)));
    calls += 1;
  }
}
let calls = 0;

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  tenant = await site.api.tenant('contoso');
  admin = await tenant.person('admin');
  const entry = { allowedPrimaryServer: '*.contoso.example', tag: 'gold' };
  await site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send(entry).expect(201);
  vm = await ProtectedVm.protect({ site, admin, fqdn: 'hv1.contoso.example', tag: 'gold' });
  plain = await openObjectStore(site.shared.STORE_URL);
  locks = new Map();
});
afterAll(async () => {
  await site?.close();
  await database?.drop();
});

const run = async (store: ObjectStore) =>
  new LockPromisedObjects(await database.platform(), database.unitOfWork, store).run({
    logger: new SilentLogger(),
    signal: new AbortController().signal,
  });
const promise = (immutableHours: number) =>
  site.api
    .request()
    .put(`/api/v1/relationships/${vm.id}/policy`)
    .set(admin.headers)
    .send({ policy: replicationPolicy.parse({ retention: { immutableHours } }) })
    .expect(200);
const keysInStore = async (): Promise<string[]> => {
  const keys: string[] = [];
  // The chain, and the tenant's key.
  for (const prefix of [new ObjectNames(tenant.id, vm.keys.chainId).prefix, `t/${tenant.id}/k/`])
    for await (const { key } of plain.list(prefix)) keys.push(key);
  return keys;
};

it('locks what promised points stand on, once, and then what comes', async () => {
  const store = new LockingStore(plain);
  await vm.cycle(0);
  await run(store);
  expect(calls).toBe(0);

  await promise(28 * 24);
  const before = Date.now();
  await run(store);
  const committed = await keysInStore();
  expect([...locks.keys()].toSorted()).toEqual(committed.toSorted());
  for (const until of locks.values()) {
    expect(until.getTime()).toBeGreaterThanOrEqual(before - 60_000 + 35 * DAY_MS);
    expect(until.getTime()).toBeLessThanOrEqual(before + 35 * DAY_MS + HOUR_MS);
  }
  const [first] = locks.values();
  const afterAll = calls;
  await run(store);
  expect(calls).toBe(afterAll);

  // An open cycle's segment is nobody's promise yet.
  const open = await vm.opened();
  const segment = vm.segment(open, 20);
  expect((await vm.put(open, segment.bytes, segment.sha256)).status).toBe(201);
  await run(store);
  expect(calls).toBe(afterAll);
  await vm.cycle(40);
  await run(store);
  const leftover = new ObjectNames(tenant.id, vm.keys.chainId).segment(segment.sha256);
  expect([...locks.keys()].toSorted()).toEqual((await keysInStore()).filter((key) => key !== leftover).toSorted());
  expect(new Set([...locks.values()].map(Number))).toEqual(new Set([Number(first)]));
});

it('locks what compaction made of a chain that nobody writes to', async () => {
  const bytes = Buffer.from('compacted');
  const sha256 = 'c'.repeat(64);
  const key = new ObjectNames(tenant.id, vm.keys.chainId).segment(sha256);
  await putBytes(plain, key, bytes);
  await database.asSuperuser(
    `insert into chain_segment (tenant_id, chain_id, role, sha256, size_bytes, footer_bytes, footer_sha256, record_count, plain_bytes,
                                first_disk, first_block, last_disk, last_block)
       select tenant_id, chain_id, 'compacted', $1, size_bytes, footer_bytes, footer_sha256, record_count, plain_bytes,
              first_disk, first_block, last_disk, last_block from chain_segment where chain_id = $2 limit 1`,
    [sha256, vm.keys.chainId],
  );
  await run(new LockingStore(plain));
  expect(locks.has(key)).toBe(true);
});

it('extends all of them when a longer promise is made, and does nothing where the store has no locks', async () => {
  const names = [...locks.keys()];
  await promise(100 * 24);
  const [row] = await database.asSuperuser<{ locked_until: Date }>(`select locked_until from chain_retention`);
  await run(new MemoryObjectStore());
  await run(plain);
  const [same] = await database.asSuperuser<{ locked_until: Date }>(`select locked_until from chain_retention`);
  expect(same).toEqual(row);

  await run(new LockingStore(plain));
  for (const name of names) expect(locks.get(name)!.getTime()).toBeGreaterThan(Date.now() + 100 * DAY_MS - HOUR_MS);
  const before = new Map(locks);
  await promise(1);
  await run(new LockingStore(plain));
  expect(locks).toEqual(before);
});

it('goes on where one chain cannot be locked', async () => {
  const broken = new (class extends LockingStore {
    override async lock(): Promise<void> {
      throw new Error(`no ${newId()}`);
    }
  })(plain);
  await promise(300 * 24);
  await run(broken);
  const [row] = await database.asSuperuser<{ locked_until: Date }>(`select locked_until from chain_retention`);
  expect(row!.locked_until.getTime()).toBeLessThan(Date.now() + 200 * DAY_MS);
});
