import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeFence, maintainChain } from '#libs/chain';
import { asId, NoCrashPoints, SilentLogger, SystemClock } from '#libs/kernel';
import { type ObjectBody, type ObjectStore, putBytes, type PutOptions, WrappedObjectStore } from '#libs/object-store';
import {
  AdoptCatalogue,
  CatalogueGuard,
  FollowedSource,
  FollowSource,
  GuardedObjectStore,
  MAINTENANCE_SETTINGS,
  MaintainChains,
  OpenGate,
  PostgresChainLedger,
  PostgresReplicaCatalogue,
} from '#libs/replication';
import { StartGate } from '#libs/platform';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { SMALL_UPKEEP } from '../support/maintained-chain.js';
import { objectsOf, ThirdSiteWorld } from '../support/third-site-world.js';

const context = { logger: new SilentLogger(), signal: new AbortController().signal };
const databases: TestDatabase[] = [];

let database: TestDatabase;
beforeAll(async () => void (database = await newDatabase()));
afterAll(() => Promise.all(databases.map((each) => each.drop())));

async function newDatabase(): Promise<TestDatabase> {
  const made = await createTestDatabase({ poolSize: 12 });
  databases.push(made);
  return made;
}

async function pointIdOf(one: TestDatabase, cycle: bigint): Promise<string> {
  const [row] = await one.asSuperuser<{ id: string }>(`select id from chain_manifest where cycle = $1`, [
    cycle.toString(16).padStart(16, '0'),
  ]);
  return row!.id;
}

/** The process dies as it tells the store its second incarnation. */
class DyingStore extends WrappedObjectStore {
  constructor(
    inner: ObjectStore,
    private readonly isToldBefore: boolean,
  ) {
    super(inner);
  }

  override async put(key: string, body: ObjectBody, options: PutOptions): ReturnType<ObjectStore['put']> {
    if (key === 'i/00002') {
      if (this.isToldBefore) await super.put(key, body, options);
      throw new Error('died');
    }
    return super.put(key, body, options);
  }
}

describe('a chain that is carried to the store of another Holdfast', () => {
  it('is followed by the Holdfast whose store the third site is, until the chain is failed over there', async () => {
    const world = await ThirdSiteWorld.start(database);
    const { chain, bucket } = world;
    const { ledger, catalogue, store } = chain;
    await world.write(4);
    await world.extend();
    const there = await newDatabase();
    await there.asSuperuser(`update installation set id = gen_random_uuid()`);
    const [platform, { unitOfWork }] = [await there.platform(), there];
    const guard = () => new CatalogueGuard(platform, unitOfWork, bucket, new StartGate(), new SystemClock(), new SilentLogger());
    await guard().check();
    await world.carry();
    expect(await world.view()).toMatchObject({ failureCode: 'carry.taken-over' });

    const [source] = await database.asSuperuser<{ id: string }>(`select id from installation`);
    const follow = (): Promise<void> => new FollowSource(platform, unitOfWork, bucket, new FollowedSource(source!.id)).run(context);
    const upkeep = new MaintainChains(platform, unitOfWork, bucket, new SystemClock(), new NoCrashPoints(), {
      ...MAINTENANCE_SETTINGS,
      busyMs: 0,
      idleMs: 0,
      collectEveryMs: 0,
      upkeep: SMALL_UPKEEP,
      sweep: { ...MAINTENANCE_SETTINGS.sweep, graceMs: 0, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 100_000 },
    });
    const maintain = async (): Promise<void> => {
      await upkeep.run(context);
      await upkeep.idle();
    };
    const readThere = async (): Promise<void> => {
      Object.assign(chain, { ledger: new PostgresChainLedger(unitOfWork), store: bucket });
      expect(await chain.wrongPoints()).toEqual([]);
      Object.assign(chain, { ledger, store });
    };
    await follow();
    expect(await there.asSuperuser(`select incarnation, withheld from installation`)).toEqual([{ incarnation: 2, withheld: null }]);
    await world.carry();
    expect(await world.view()).toMatchObject({ health: 'Normal' });
    await follow();
    await readThere();

    // The source goes on: writes, fails over, removes, compacts; the third site's own upkeep keeps away.
    await chain.branch([...chain.kept.values()].at(-1)!);
    await world.write(6);
    await world.removeOldest(3);
    await maintainChain(chain.upkeep());
    await world.carry();
    await guard().check();
    const before = await objectsOf(bucket, '');
    await follow();
    await maintain();
    expect(await objectsOf(bucket, '')).toEqual(before);
    await readThere();
    const pointsOf = (one: TestDatabase) =>
      one.asSuperuser(`select m.cycle from recovery_point p join chain_manifest m on m.id = p.id where p.chain_id = $1 order by m.cycle`, [
        chain.address.chainId,
      ]);
    expect(await pointsOf(there)).toEqual(await pointsOf(database));

    // A failover there: another incarnation, a fence, and the source is told.
    Object.assign(chain, {
      ledger: new PostgresChainLedger(unitOfWork),
      catalogue: new PostgresReplicaCatalogue(unitOfWork, new OpenGate(), 3_600_000),
      store: bucket,
    });
    const left = await chain.catalogue.chain(chain.address);
    const from = [...chain.kept.values()].at(-1)!;
    await there.asSuperuser(`update replica_chain set tag = $1`, [chain.peer.tag]);
    const recorded = { ...chain.address, writer: chain.peer, generation: 1, recipient: 'a'.repeat(64) };
    await chain.catalogue.recordKey({ ...recorded, kind: 'data' });
    await chain.catalogue.recordKey({ ...recorded, generation: 0, kind: 'fingerprint' });
    await chain.branch({ ...from, point: { ...from.point, id: asId(await pointIdOf(there, from.point.ref.cycle)) } });
    const { epoch, branchId } = await chain.catalogue.chain(chain.address);
    expect(epoch.incarnation).toBe(2);
    const { chainId } = chain.address;
    const fence = encodeFence({
      chainId,
      epoch,
      branchId,
      frozenPoint: from.point.ref,
      left: { branchId: left.branchId, head: left.head },
    });
    await putBytes(bucket, chain.names.fence(epoch), fence.bytes);
    await there.asSuperuser(`update replication_relationship set mode = 'Replica'`);
    await world.write(2);
    await follow();
    expect(await there.asSuperuser(`select 1 from followed_chain`)).toEqual([]);
    for (let round = 0; round < 3; round += 1) await maintain();
    expect(await there.asSuperuser(`select failure_code from chain_upkeep`)).toEqual([{ failure_code: null }]);
    expect(await chain.wrongPoints()).toEqual([]);
    await world.carry();
    expect(await world.view()).toMatchObject({ state: 'Error', health: 'Critical', failureCode: 'carry.failed-over' });
    Object.assign(chain, { ledger, catalogue, store });
  });

  it.each(['before the store knows of it', 'after'])('is followed by one that ends what it began, where it died %s', async (when) => {
    const world = await ThirdSiteWorld.start(database);
    await world.write(2);
    const there = await newDatabase();
    await there.asSuperuser(`update installation set id = gen_random_uuid()`);
    const [platform, { unitOfWork }] = [await there.platform(), there];
    const [source] = await database.asSuperuser<{ id: string }>(`select id from installation`);
    const process = () => {
      const gate = new StartGate();
      const guard = new CatalogueGuard(platform, unitOfWork, world.bucket, gate, new SystemClock(), new SilentLogger());
      const follow = (store: ObjectStore = new GuardedObjectStore(world.bucket, gate)): Promise<void> =>
        new FollowSource(platform, unitOfWork, store, new FollowedSource(source!.id)).run(context);
      return { guard, follow };
    };
    const state = async () => (await there.asSuperuser(`select incarnation, stamped_incarnation, withheld from installation`))[0];
    const first = process();
    await first.guard.check();
    await expect(first.follow(new DyingStore(world.bucket, when === 'after'))).rejects.toThrow('died');
    expect(await state()).toEqual({ incarnation: 2, stamped_incarnation: null, withheld: 'catalogue.surpassing' });
    const second = process();
    await expect(second.guard.check()).rejects.toMatchObject({ code: 'catalogue.surpassing' });
    await second.follow();
    expect(await state()).toEqual({ incarnation: 2, stamped_incarnation: 2, withheld: null });
    await second.guard.check();
    await world.extend();
    await world.carry();
    await second.follow();
    expect(await there.asSuperuser(`select epoch_incarnation from replica_chain`)).toEqual([{ epoch_incarnation: 2 }]);
    // What a person has to settle stays as it is.
    await there.asSuperuser(`update installation set withheld = 'catalogue.adoption-pending'`);
    await second.follow();
    expect(await state()).toMatchObject({ incarnation: 2, withheld: 'catalogue.adoption-pending' });
  });

  it('is not followed by one that was rebuilt from what was carried: its chains are its own', async () => {
    const world = await ThirdSiteWorld.start(database);
    await world.write(3);
    await world.extend();
    await world.carry();
    const there = await newDatabase();
    await there.asSuperuser(`update installation set id = gen_random_uuid()`);
    const [platform, { unitOfWork }] = [await there.platform(), there];
    await new AdoptCatalogue(platform, unitOfWork, world.bucket).execute({
      isDryRun: false,
      givesUpDamaged: false,
      signal: context.signal,
    });
    const [source] = await database.asSuperuser<{ id: string }>(`select id from installation`);
    const follow = new FollowSource(platform, unitOfWork, world.bucket, new FollowedSource(source!.id)).run(context);
    await expect(follow).rejects.toMatchObject({
      code: 'carry.chains-taken-over',
      details: { chains: 1, first: world.chain.address.chainId },
    });
    await world.write(1);
    const before = await objectsOf(world.bucket, '');
    await world.carry();
    expect(await world.view()).toMatchObject({ health: 'Critical', failureCode: 'carry.taken-over' });
    expect(await objectsOf(world.bucket, '')).toEqual(before);
  });

  it('is followed no more by one that lost its database and was rebuilt: the source is shut out', async () => {
    const world = await ThirdSiteWorld.start(database);
    await world.write(2);
    await world.extend();
    const [source] = await database.asSuperuser<{ id: string }>(`select id from installation`);
    const followOn = async (one: TestDatabase): Promise<void> =>
      new FollowSource(await one.platform(), one.unitOfWork, world.bucket, new FollowedSource(source!.id)).run(context);
    const lost = await newDatabase();
    await lost.asSuperuser(`update installation set id = gen_random_uuid()`);
    await new CatalogueGuard(
      await lost.platform(),
      lost.unitOfWork,
      world.bucket,
      new StartGate(),
      new SystemClock(),
      new SilentLogger(),
    ).check();
    await followOn(lost);
    await world.carry();
    expect(await world.view()).toMatchObject({ health: 'Normal', failureCode: null });

    const rebuilt = await newDatabase();
    await rebuilt.asSuperuser(`update installation set id = gen_random_uuid()`);
    const options = { isDryRun: false, givesUpDamaged: false, signal: context.signal };
    const adoption = await new AdoptCatalogue(await rebuilt.platform(), rebuilt.unitOfWork, world.bucket).execute(options);
    expect(adoption.chains.map(({ chainId }) => chainId)).toContain(world.chain.address.chainId);
    await world.write(1);
    const before = await objectsOf(world.bucket, '');
    await world.carry();
    expect(await world.view()).toMatchObject({ health: 'Critical', failureCode: 'carry.taken-over' });
    expect(await objectsOf(world.bucket, '')).toEqual(before);
    await expect(followOn(rebuilt)).rejects.toMatchObject({ code: 'carry.chains-taken-over' });
  });
});
