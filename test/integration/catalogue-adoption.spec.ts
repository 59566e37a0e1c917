import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeFence, maintainChain, readStamp } from '#libs/chain';
import { NoCrashPoints, SilentLogger, SystemClock } from '#libs/kernel';
import { MemoryObjectStore, putBytes } from '#libs/object-store';
import {
  AdoptCatalogue,
  type AdoptionOptions,
  CatalogueGuard,
  MAINTENANCE_SETTINGS,
  MaintainChains,
  OpenGate,
  PostgresChainLedger,
  PostgresReplicaCatalogue,
} from '#libs/replication';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { MaintainedChain, SMALL_UPKEEP } from '../support/maintained-chain.js';

const BLOCK_BYTES = 65_536;
const store = new MemoryObjectStore();
const chain = new MaintainedChain({ store, blocks: 8 });
const options: AdoptionOptions = { isDryRun: false, givesUpDamaged: false, signal: new AbortController().signal };
const databases: TestDatabase[] = [];

/** The platform as it stands on one database, above the one store. */
class Site {
  constructor(
    readonly database: TestDatabase,
    readonly guard: CatalogueGuard,
    readonly adoption: AdoptCatalogue,
    readonly worker: MaintainChains,
  ) {}

  static async on(copyOf?: TestDatabase): Promise<Site> {
    const database = await createTestDatabase(copyOf === undefined ? {} : { copyOf });
    databases.push(database);
    const platform = await database.platform();
    const { unitOfWork } = database;
    const worker = new MaintainChains(platform, unitOfWork, store, new SystemClock(), new NoCrashPoints(), {
      ...MAINTENANCE_SETTINGS,
      busyMs: 0,
      idleMs: 0,
      collectEveryMs: 0,
      upkeep: SMALL_UPKEEP,
      sweep: { graceMs: 0, windowMs: 3_600_000, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 100_000 },
    });
    return new Site(database, new CatalogueGuard(platform, unitOfWork, store), new AdoptCatalogue(platform, unitOfWork, store), worker);
  }

  /** From here on the writer and the readers of the chain are this database's. */
  serve(): this {
    const { unitOfWork } = this.database;
    Object.assign(chain, {
      catalogue: new PostgresReplicaCatalogue(unitOfWork, new OpenGate(), 3_600_000),
      ledger: new PostgresChainLedger(unitOfWork),
    });
    return this;
  }

  async removeOldest(count: number): Promise<void> {
    for (const { point } of [...chain.kept.values()].slice(0, count)) {
      await chain.deletePoint(point.id, async () => {
        await this.database.asSuperuser(`delete from recovery_point p using chain_manifest m where m.id = p.id and m.cycle = $1`, [
          point.ref.cycle.toString(16).padStart(16, '0'),
        ]);
      });
    }
  }

  /** A worker's rounds, with nothing to wait for before anything is deleted. */
  async work(rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round += 1) {
      await this.worker.run({ logger: new SilentLogger() });
      await this.worker.idle();
    }
  }

  async upkeep(): Promise<Record<string, unknown> | undefined> {
    return (await this.database.asSuperuser<Record<string, unknown>>(`select * from chain_upkeep`))[0];
  }
}

async function write(count: number): Promise<void> {
  for (let round = 1; round <= count; round += 1) {
    chain.write(((round * 3) % 7) * BLOCK_BYTES, 2 * BLOCK_BYTES, round + 1);
    await chain.commit();
  }
}

async function objects(): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list('t/')) found.push(key);
  return found;
}

let live: Site;
let restored: Site;

beforeAll(async () => {
  const first = (await Site.on()).serve();
  await first.guard.onApplicationBootstrap();
  const { tenantId } = chain.address;
  await first.database.asSuperuser(`insert into tenant (id, slug, name) values ($1, 'contoso', 'Contoso')`, [tenantId]);
  await chain.create();
  const key = { generation: 1, kind: 'data', recipient: 'a'.repeat(64) };
  await putBytes(store, chain.names.wrappedKey(key), Buffer.from('sealed'));
  await write(6);
  await first.removeOldest(1);
  await maintainChain(chain.upkeep());
  await first.database.disconnect();
  restored = await Site.on(first.database);
  live = (await Site.on(first.database)).serve();
  await write(6);
  await live.removeOldest(4);
  // What the backup's points stood on is dissolved and gone.
  const before = await objects();
  await live.work(3);
  expect((await live.upkeep())?.['failure_code']).toBeNull();
  expect((await objects()).filter((name) => name.includes('/s/')).length).toBeLessThan(
    before.filter((name) => name.includes('/s/')).length,
  );
  await write(2);
});
afterAll(() => Promise.all(databases.map((database) => database.drop())));

describe('a database that was restored from a backup', () => {
  it('notices, and is a new incarnation before anything is written on its word', async () => {
    expect(await readStamp(store)).toMatchObject({ incarnation: 1 });
    await restored.guard.onApplicationBootstrap();
    expect(await readStamp(store)).toMatchObject({ incarnation: 2 });
    await expect(restored.guard.check()).rejects.toMatchObject({ code: 'catalogue.adoption-pending' });
    restored.serve();
    await expect(chain.commit()).rejects.toMatchObject({ code: 'catalogue.adoption-pending' });
  });

  it('shuts out whoever goes on with the database that was left', async () => {
    await expect(live.guard.check()).rejects.toMatchObject({ code: 'catalogue.superseded' });
    live.serve();
    await expect(chain.commit()).rejects.toMatchObject({ code: 'catalogue.superseded' });
    restored.serve();
  });

  it('deletes nothing, and tells what it lacks, until somebody has it adopted', async () => {
    const before = await objects();
    await restored.work(3);
    const { chains, isSettled } = await restored.adoption.execute({ ...options, isDryRun: true });
    expect(chains).toMatchObject([{ ...chain.address, isNewChain: false, manifests: 8, points: 8, damaged: [] }]);
    expect(isSettled).toBe(false);
    await restored.work(1);
    expect(await objects()).toEqual(before);
  });

  it('has every point again, and goes on with numbers that were never given', async () => {
    const before = await objects();
    const { chains, incarnation, isSettled } = await restored.adoption.execute(options);
    expect({ incarnation, isSettled }).toEqual({ incarnation: 2, isSettled: true });
    expect(chains).toMatchObject([{ manifests: 8, points: 8, removedPoints: 4, damaged: [] }]);
    expect(await objects()).toEqual(before);
    expect(await chain.wrongPoints()).toEqual([]);
    await restored.guard.check();
    await write(3);
    expect([...chain.kept.values()].slice(-3).map(({ point }) => point.ref.cycle >> 48n)).toEqual([2n, 2n, 2n]);
    await restored.removeOldest(2);
    await restored.work(4);
    expect((await restored.upkeep())?.['failure_code']).toBeNull();
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('is not taken for older once more', async () => {
    await (await new CatalogueGuard(await restored.database.platform(), restored.database.unitOfWork, store)).check();
    expect(await readStamp(store)).toMatchObject({ incarnation: 2 });
    expect((await restored.adoption.execute({ ...options, isDryRun: true })).chains).toMatchObject([{ manifests: 0, removedPoints: 0 }]);
  });
});

describe('an empty database', () => {
  it('is rebuilt from the store alone, as often as one likes', async () => {
    const empty = await Site.on();
    await empty.database.asSuperuser(`update installation set id = gen_random_uuid()`);
    await expect(empty.guard.check()).rejects.toMatchObject({ code: 'catalogue.foreign-store' });
    const before = await objects();
    const kept = chain.kept.size;
    const done = await empty.adoption.execute(options);
    expect(done).toMatchObject({ incarnation: 3, isSettled: true, chains: [{ isNewChain: true, vmName: 'web-1', damaged: [] }] });
    expect(done.chains[0]!.points).toBeGreaterThanOrEqual(kept);
    empty.serve();
    expect(await chain.wrongPoints()).toEqual([]);
    await empty.guard.check();
    await empty.work(2);
    expect((await empty.upkeep())?.['failure_code']).toBeNull();
    expect(await chain.wrongPoints()).toEqual([]);
    expect((await objects()).filter((name) => /\/[ms]\//.test(name))).toEqual(before.filter((name) => /\/[ms]\//.test(name)));
    const again = await empty.adoption.execute(options);
    expect(again).toMatchObject({ chains: [{ isNewChain: false, manifests: 0, removedPoints: 0 }] });
    const [relationship] = await empty.database.asSuperuser(`select state, failure_code from replication_relationship`);
    expect(relationship).toEqual({ state: 'Error', failure_code: 'catalogue.agent-unknown' });
  });
});

describe('a failover after the backup', () => {
  it('is found by its fence, with the branch that it opened and without what the old primary wrote on', async () => {
    const primary = (await Site.on()).serve();
    await primary.database.asSuperuser(`update installation set id = gen_random_uuid()`);
    await primary.adoption.execute(options);
    await primary.database.asSuperuser(`update replica_chain set tag = $1`, [chain.peer.tag]);
    await write(2);
    await primary.database.disconnect();
    const older = await Site.on(primary.database);
    const newer = (await Site.on(primary.database)).serve();

    const before = await chain.catalogue.chain(chain.address);
    await chain.branch([...chain.kept.values()].at(-2)!);
    const { epoch, branchId } = await chain.catalogue.chain(chain.address);
    const frozenPoint = [...chain.kept.values()].at(-2)!.point.ref;
    const left = { branchId: before.branchId, head: before.head };
    const { bytes } = encodeFence({ chainId: chain.address.chainId, epoch, branchId, frozenPoint, left });
    await putBytes(store, chain.names.fence(epoch), bytes);
    await newer.guard.check();

    await expect(older.guard.check()).rejects.toMatchObject({ code: 'catalogue.adoption-pending' });
    await older.adoption.execute(options);
    older.serve();
    expect(await chain.catalogue.chain(chain.address)).toMatchObject({ branchId, head: frozenPoint });
    const [relationship] = await older.database.asSuperuser(`select state, failure_code from replication_relationship`);
    expect(relationship).toEqual({ state: 'Error', failure_code: 'catalogue.roles-unknown' });
    const leases = (): Promise<unknown[]> =>
      older.database.asSuperuser(`select cycle, expires_at from chain_lease where holder = 'lost-failover'`);
    await older.work(1);
    expect(await leases()).toEqual([{ cycle: frozenPoint.cycle.toString(16).padStart(16, '0'), expires_at: null }]);
    expect(await chain.wrongPoints()).toEqual([]);
    await write(2);
    expect(await chain.wrongPoints()).toEqual([]);
    await older.database.asSuperuser(`update replication_relationship set state = 'Suspended', failure_code = null`);
    await older.work(1);
    expect(await leases()).toEqual([]);
  });
});

describe('an adoption from a store that is not whole', () => {
  it('takes no point away that the snapshot keeps, and marks what is damaged until it is whole again', async () => {
    const primary = (await Site.on()).serve();
    await primary.database.asSuperuser(`update installation set id = gen_random_uuid()`);
    await primary.adoption.execute(options);
    await primary.database.asSuperuser(`update replica_chain set tag = $1`, [chain.peer.tag]);
    await write(2);
    const { ref } = [...chain.kept.values()].at(-1)!.point;
    await primary.database.disconnect();
    const older = await Site.on(primary.database);
    const newer = (await Site.on(primary.database)).serve();
    await write(2);
    await maintainChain(chain.upkeep());
    await newer.database.disconnect();

    const key = chain.names.manifest(ref);
    const sound = await store.get(key);
    await store.delete(key);
    await putBytes(store, key, sound.subarray(1));
    await expect(older.guard.check()).rejects.toMatchObject({ code: 'catalogue.adoption-pending' });
    const { chains } = await older.adoption.execute(options);
    expect(chains).toMatchObject([
      { removedPoints: 0, damaged: [{ reason: 'unreadable' }, { reason: 'parent-missing' }, { reason: 'parent-missing' }] },
    ]);
    const cycle = ref.cycle.toString(16).padStart(16, '0');
    const damaged = (): Promise<unknown[]> =>
      older.database.asSuperuser(
        `select c.state, p.id is not null as is_point from replication_cycle c join chain_manifest m on m.tenant_id = c.tenant_id and m.cycle = c.cycle
           left join recovery_point p on p.id = m.id where c.cycle = $1 and c.failure_code = 'catalogue.damaged'`,
        [cycle],
      );
    expect(await damaged()).toEqual([{ state: 'committed', is_point: true }]);

    await store.delete(key);
    await putBytes(store, key, sound);
    expect((await older.adoption.execute(options)).chains).toMatchObject([{ manifests: 2, removedPoints: 0, damaged: [] }]);
    expect(await damaged()).toEqual([]);
    older.serve();
    expect(await chain.wrongPoints()).toEqual([]);
  });
});
