import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeFence, maintainChain, readChainFromStore, readStamp } from '#libs/chain';
import { SilentLogger, SystemClock } from '#libs/kernel';
import { putBytes } from '#libs/object-store';
import { CatalogueGuard } from '#libs/replication';
import { ADOPTION, CatalogueWorld, type Site } from '../support/catalogue-site.js';

const world = new CatalogueWorld();
const { store, chain } = world;

let live: Site;
let restored: Site;

beforeAll(async () => {
  const first = (await world.site()).serve();
  await first.guard.check();
  const { tenantId } = chain.address;
  await first.database.asSuperuser(`insert into tenant (id, slug, name) values ($1, 'contoso', 'Contoso')`, [tenantId]);
  await chain.create();
  for (const [kind, generation] of [
    ['data', 1],
    ['fingerprint', 0],
  ] as const)
    await putBytes(store, chain.names.wrappedKey({ kind, generation, recipient: 'a'.repeat(64) }), Buffer.from('sealed'));
  await world.write(6);
  await first.removeOldest(1);
  await maintainChain(chain.upkeep());
  await first.database.disconnect();
  restored = await world.site(first.database);
  live = (await world.site(first.database)).serve();
  await live.guard.check();
  await world.write(6);
  await live.removeOldest(4);
  // What the backup's points stood on is dissolved and gone.
  const before = await world.objects();
  await live.work(3);
  expect((await live.upkeep())?.['failure_code']).toBeNull();
  expect((await world.objects()).filter((name) => name.includes('/s/')).length).toBeLessThan(
    before.filter((name) => name.includes('/s/')).length,
  );
  await world.write(2);
});
afterAll(() => world.drop());

describe('a database that was restored from a backup', () => {
  it('notices, and is a new incarnation before anything is written on its word', async () => {
    expect(await readStamp(store)).toMatchObject({ incarnation: 1 });
    await expect(restored.guard.check()).rejects.toMatchObject({ code: 'catalogue.adoption-pending' });
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
    const before = await world.objects();
    await restored.work(3);
    const { chains, isSettled } = await restored.adoption.execute({ ...ADOPTION, isDryRun: true });
    expect(chains).toMatchObject([{ ...chain.address, isNewChain: false, manifests: 8, points: 8, damaged: [] }]);
    expect(isSettled).toBe(false);
    await restored.work(1);
    expect(await world.objects()).toEqual(before);
  });

  it('has every point again, and goes on with numbers that were never given', async () => {
    const before = await world.objects();
    const { chains, incarnation, isSettled } = await restored.adoption.execute(ADOPTION);
    expect({ incarnation, isSettled }).toEqual({ incarnation: 2, isSettled: true });
    expect(chains).toMatchObject([{ manifests: 8, points: 8, removedPoints: 4, damaged: [] }]);
    expect(await world.objects()).toEqual(before);
    await restored.guard.check();
    expect(await chain.wrongPoints()).toEqual([]);
    await world.write(3);
    expect([...chain.kept.values()].slice(-3).map(({ point }) => point.ref.cycle >> 48n)).toEqual([2n, 2n, 2n]);
    await restored.removeOldest(2);
    await restored.work(4);
    expect((await restored.upkeep())?.['failure_code']).toBeNull();
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('is not taken for older once more', async () => {
    const { database, gate } = restored;
    await new CatalogueGuard(await database.platform(), database.unitOfWork, store, gate, new SystemClock(), new SilentLogger()).check();
    expect(await readStamp(store)).toMatchObject({ incarnation: 2 });
    expect((await restored.adoption.execute({ ...ADOPTION, isDryRun: true })).chains).toMatchObject([{ manifests: 0, removedPoints: 0 }]);
  });
});

describe('an empty database', () => {
  it('is rebuilt from the store alone, as often as one likes', async () => {
    const empty = await world.site();
    await empty.database.asSuperuser(`update installation set id = gen_random_uuid()`);
    await expect(empty.guard.check()).rejects.toMatchObject({ code: 'catalogue.foreign-store' });
    const before = await world.objects();
    const kept = chain.kept.size;
    const done = await empty.adoption.execute(ADOPTION);
    expect(done).toMatchObject({ incarnation: 3, isSettled: true, chains: [{ isNewChain: true, vmName: 'web-1', damaged: [] }] });
    expect(done.chains[0]!.points).toBeGreaterThanOrEqual(kept);
    empty.serve();
    await empty.guard.check();
    expect(await chain.wrongPoints()).toEqual([]);
    await empty.work(2);
    expect((await empty.upkeep())?.['failure_code']).toBeNull();
    expect(await chain.wrongPoints()).toEqual([]);
    expect((await world.objects()).filter((name) => /\/[ms]\//.test(name))).toEqual(before.filter((name) => /\/[ms]\//.test(name)));
    const again = await empty.adoption.execute(ADOPTION);
    expect(again).toMatchObject({ chains: [{ isNewChain: false, manifests: 0, removedPoints: 0 }] });
    const [relationship] = await empty.database.asSuperuser(`select state, failure_code from replication_relationship`);
    expect(relationship).toEqual({ state: 'Error', failure_code: 'catalogue.agent-unknown' });
  });
});

describe('a failover after the backup', () => {
  it('is found by its fence, with the branch that it opened and without what the old primary wrote on', async () => {
    const primary = await world.rebuilt();
    await world.write(2);
    await primary.database.disconnect();
    const older = await world.site(primary.database);
    const newer = (await world.site(primary.database)).serve();
    await newer.guard.check();

    const before = await chain.catalogue.chain(chain.address);
    await chain.branch([...chain.kept.values()].at(-2)!);
    const { epoch, branchId } = await chain.catalogue.chain(chain.address);
    const frozenPoint = [...chain.kept.values()].at(-2)!.point.ref;
    const left = { branchId: before.branchId, head: before.head };
    const { bytes } = encodeFence({ chainId: chain.address.chainId, epoch, branchId, frozenPoint, left });
    await putBytes(store, chain.names.fence(epoch), bytes);
    await newer.guard.check();

    await expect(older.guard.check()).rejects.toMatchObject({ code: 'catalogue.adoption-pending' });
    await older.adoption.execute(ADOPTION);
    await older.guard.check();
    older.serve();
    expect(await chain.catalogue.chain(chain.address)).toMatchObject({ branchId, head: frozenPoint });
    const [relationship] = await older.database.asSuperuser(`select state, failure_code from replication_relationship`);
    expect(relationship).toEqual({ state: 'Error', failure_code: 'catalogue.roles-unknown' });
    const leases = (): Promise<unknown[]> =>
      older.database.asSuperuser(`select cycle, expires_at from chain_lease where holder = 'lost-failover'`);
    await older.work(1);
    expect(await leases()).toEqual([{ cycle: frozenPoint.cycle.toString(16).padStart(16, '0'), expires_at: null }]);
    expect(await chain.wrongPoints()).toEqual([]);
    await world.write(2);
    expect(await chain.wrongPoints()).toEqual([]);
    await older.database.asSuperuser(`update replication_relationship set state = 'Suspended', failure_code = null`);
    await older.work(1);
    expect(await leases()).toEqual([]);
  });
});

describe('an adoption from a store that is not whole', () => {
  it('takes no point away that the snapshot keeps, and marks what is damaged until it is whole again', async () => {
    const primary = await world.rebuilt();
    await world.write(2);
    const { ref } = [...chain.kept.values()].at(-1)!.point;
    await primary.database.disconnect();
    const older = await world.site(primary.database);
    const newer = (await world.site(primary.database)).serve();
    await newer.guard.check();
    await world.write(2);
    await maintainChain(chain.upkeep());
    await newer.database.disconnect();

    const key = chain.names.manifest(ref);
    const sound = await store.get(key);
    await store.delete(key);
    await putBytes(store, key, sound.subarray(1));
    await expect(older.guard.check()).rejects.toMatchObject({ code: 'catalogue.adoption-pending' });
    const { chains } = await older.adoption.execute(ADOPTION);
    expect(chains).toMatchObject([
      { removedPoints: 0, damaged: [{ reason: 'unreadable' }, { reason: 'parent-missing' }, { reason: 'parent-missing' }] },
    ]);
    // Settled: the next process does not take this database for older because of them.
    await older.guard.check();
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
    expect((await older.adoption.execute(ADOPTION)).chains).toMatchObject([{ manifests: 2, removedPoints: 0, damaged: [] }]);
    expect(await damaged()).toEqual([]);
    older.serve();
    expect(await chain.wrongPoints()).toEqual([]);
  });
});

describe('a database that was restored to', () => {
  it('while a cycle was under way notices that it was committed', async () => {
    const primary = await world.rebuilt();
    await primary.database.disconnect();
    const older = await world.site(primary.database);
    const newer = (await world.site(primary.database)).serve();
    await newer.guard.check();
    const { ref } = await chain.commit();
    const rows = await newer.database.asSuperuser<{ row: object }>(`select to_jsonb(c) as row from replication_cycle c where cycle = $1`, [
      ref.cycle.toString(16).padStart(16, '0'),
    ]);
    // As it was in the backup: given out, and bound to nothing.
    const row = JSON.stringify({ ...rows[0]!.row, state: 'open', manifest_sha256: null, ended_at: null });
    await older.database.asSuperuser(`insert into replication_cycle select (jsonb_populate_record(null::replication_cycle, $1)).*`, [row]);
    await expect(older.guard.check()).rejects.toMatchObject({ code: 'catalogue.adoption-pending' });
    expect((await older.adoption.execute(ADOPTION)).chains).toMatchObject([{ manifests: 1, points: 1, damaged: [] }]);
    await older.guard.check();
    older.serve();
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('and went on unnoticed notices by the hash that another snapshot stands in the place of its own', async () => {
    const primary = await world.rebuilt();
    await maintainChain(chain.upkeep());
    await primary.database.disconnect();
    const older = await world.site(primary.database);
    const newer = (await world.site(primary.database)).serve();
    await newer.guard.check();
    await newer.removeOldest(1);
    await maintainChain(chain.upkeep());
    // A release that took no look.
    older.gate.open();
    older.serve();
    await older.removeOldest(1);
    await maintainChain(chain.upkeep());
    const sequences = (site: Site): Promise<unknown[]> =>
      site.database.asSuperuser(`select max(sequence)::int as newest from chain_snapshot`);
    expect(await sequences(older)).toEqual(await sequences(newer));
    await expect(older.guard.check()).rejects.toMatchObject({ code: 'catalogue.adoption-pending' });
    await older.adoption.execute(ADOPTION);
    await older.guard.check();
    await older.work(3);
    expect((await older.upkeep())?.['failure_code']).toBeNull();
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('has every document of the snapshot that it went by, so that none of it is collected', async () => {
    const site = await world.rebuilt();
    for (let round = 0; round < 3; round += 1) {
      await world.write(1);
      await maintainChain(chain.upkeep());
    }
    const snapshot = (await readChainFromStore(store, chain.address)).documents;
    expect(snapshot.length).toBeGreaterThan(1);
    await site.database.disconnect();
    const rebuilt = await world.rebuilt();
    await rebuilt.work(3);
    expect((await rebuilt.upkeep())?.['failure_code']).toBeNull();
    expect((await readChainFromStore(store, chain.address)).documents).toEqual(expect.arrayContaining([...snapshot]));
  });
});
