import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeFence, maintainChain, readPairings } from '#libs/chain';
import { type BranchId, newId, NoCrashPoints, SilentLogger, SystemClock } from '#libs/kernel';
import { MemoryObjectStore, putBytes } from '#libs/object-store';
import {
  AdoptCatalogue,
  CatalogueGuard,
  MendFromCopy,
  PostgresChainLedger,
  ReplicaRemnants,
  SCRUB_SETTINGS,
  ScrubChains,
} from '#libs/replication';
import { StartGate } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
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

describe('extended replication', () => {
  it('carries the chain on, and an empty database that has the third site alone reads every point', async () => {
    const world = await ThirdSiteWorld.start(database);
    await world.write(5);
    await maintainChain(world.chain.upkeep());
    await world.extend();
    expect(await world.view()).toMatchObject({ state: 'InitialReplicationInProgress', health: 'Warning', lastPointInstant: null });
    await world.carry();
    await world.write(6);
    await world.removeOldest(4);
    await maintainChain(world.chain.upkeep());
    await world.carry();
    const newest = [...world.chain.kept.values()].at(-1)!.point;
    expect(await world.view()).toMatchObject({
      mode: 'ExtendedReplica',
      state: 'Replicating',
      health: 'Normal',
      healthDetails: [],
      lastPointInstant: '2026-03-01T12:00:00.000Z',
      pendingBytes: 0,
      pendingManifests: 0,
      failureCode: null,
    });
    const [row] = await database.asSuperuser<{ carried_cycle: string }>(
      `select carried_cycle from extended_replication where tenant_id = $1`,
      [world.tenantId],
    );
    expect(BigInt(`0x${row!.carried_cycle}`)).toBe(newest.ref.cycle);
    const own = await objectsOf(world.store, world.chain.names.prefix);
    for (const [key, bytes] of await objectsOf(world.bucket, world.chain.names.prefix)) if (own.has(key)) expect(bytes).toBe(own.get(key));

    const there = await newDatabase();
    await there.asSuperuser(`update installation set id = gen_random_uuid()`);
    const adoption = new AdoptCatalogue(await there.platform(), there.unitOfWork, world.bucket);
    const done = await adoption.execute({ isDryRun: false, givesUpDamaged: false, signal: context.signal });
    expect(done).toMatchObject({ isSettled: true, incarnation: 2, chains: [{ isNewChain: true, damaged: [] }] });
    const gate = new StartGate();
    await new CatalogueGuard(await there.platform(), there.unitOfWork, world.bucket, gate, new SystemClock(), new SilentLogger()).check();
    const { ledger, store, catalogue } = world.chain;
    Object.assign(world.chain, { ledger: new PostgresChainLedger(there.unitOfWork), store: world.bucket });
    expect(world.chain.kept.size).toBe(7);
    expect(await world.chain.wrongPoints()).toEqual([]);
    Object.assign(world.chain, { ledger, store, catalogue });

    // It is somebody's own store from now on: nothing more is carried there.
    const before = await objectsOf(world.bucket, '');
    await world.write(1);
    await world.carry();
    expect(await world.view()).toMatchObject({ state: 'Error', health: 'Critical', failureCode: 'carry.taken-over' });
    expect(await objectsOf(world.bucket, '')).toEqual(before);

    // Nor is anything deleted there when the tenant is taken away at the source.
    const remnants = new ReplicaRemnants(database.unitOfWork, new MemoryObjectStore(), world.sites);
    const { size: kept } = await objectsOf(world.bucket, `t/${world.tenantId}/`);
    expect(await remnants.remove(world.tenantId)).toMatchObject({ kept });
    expect(await objectsOf(world.bucket, '')).toEqual(before);
  });

  it('shows that the third site is away, and catches up; two workers at once do no harm', async () => {
    const world = await ThirdSiteWorld.start(database);
    await world.write(3);
    await world.extend(900);
    await world.carry();
    world.link.isCutOff = true;
    await world.write(2);
    await world.carry();
    expect(await world.view()).toMatchObject({ state: 'Replicating', health: 'Warning', failureCode: 'object.store-unavailable' });
    await database.asSuperuser(
      `update extended_replication set failing_since = failing_since - interval '61 minutes' where tenant_id = $1`,
      [world.tenantId],
    );
    expect(await world.view()).toMatchObject({ health: 'Critical', healthDetails: [{ code: 'extended.site-unreachable' }] });
    expect((await world.view()).pendingBytes).toBeGreaterThan(0);
    world.link.isCutOff = false;
    await world.carry(await world.newWorker(), await world.newWorker());
    await world.carry(await world.newWorker(), await world.newWorker());
    expect(await world.view()).toMatchObject({ state: 'Replicating', health: 'Normal', pendingBytes: 0, failureCode: null });
    // A site that somebody emptied is filled again.
    for (const key of (await objectsOf(world.bucket, '')).keys()) await world.bucket.delete(key);
    await world.carry();
    expect((await objectsOf(world.bucket, world.chain.names.prefix)).size).toBeGreaterThan(5);
    expect(await readPairings(world.bucket)).toHaveLength(1);

    await world.extended.suspend(world.tenantId, world.actor, world.relationshipId);
    await world.write(1);
    const before = await objectsOf(world.bucket, '');
    await world.carry();
    expect(await objectsOf(world.bucket, '')).toEqual(before);
    expect(await world.view()).toMatchObject({ state: 'Suspended', health: 'Warning' });
    await world.extended.resume(world.tenantId, world.actor, world.relationshipId);
    await world.carry();
    expect(await world.view()).toMatchObject({ health: 'Normal' });
    await world.extended.remove(world.tenantId, world.actor, world.relationshipId);
    await expect(world.view()).rejects.toMatchObject({ code: 'extended.not-found' });
    expect(await world.audited('extended-replication.removed')).toMatchObject([{ details: { site: 'berlin' } }]);
  });

  it('never goes to a site of others, to none, or more often than the VM is replicated', async () => {
    const world = await ThirdSiteWorld.start(database);
    const other = await ThirdSiteWorld.start(database);
    await world.write(1);
    await expect(
      world.extended.extend(world.tenantId, world.actor, world.relationshipId, { site: 'paris', frequencySeconds: 300 }),
    ).rejects.toMatchObject({ code: 'third-site.unknown' });
    await expect(world.extended.get(other.tenantId, world.relationshipId)).rejects.toMatchObject({ code: 'relationship.not-found' });
    await database.asSuperuser(
      `update replication_relationship set policy = jsonb_set(policy, '{frequencySeconds}', '900') where id = $1`,
      [world.relationshipId],
    );
    await expect(world.extend(300)).rejects.toMatchObject({ code: 'extended.too-frequent' });
    await world.extend(900);
    await putBytes(
      world.bucket,
      'c/00001-nobody',
      Buffer.from(
        '{"format":"holdfast.pairing","owner":null,"source":{"id":"01890000-0000-7000-8000-0000000000aa","incarnation":1},"version":1}',
      ),
    );
    await world.carry();
    expect(await world.view()).toMatchObject({ state: 'Error', health: 'Critical', failureCode: 'carry.paired-elsewhere' });
    expect((await objectsOf(world.bucket, 't/')).size).toBe(0);
  });

  it('mends what is damaged here from the third site', async () => {
    const world = await ThirdSiteWorld.start(database);
    await world.write(4);
    // The catalogue knows of a wrapped key that no test stored.
    await database.asSuperuser(`delete from chain_key where tenant_id = $1`, [world.tenantId]);
    const { names: chainNames, address } = world.chain;
    const epoch = { incarnation: 1, counter: 1 };
    // Of a branch that the database does not know, which cannot write it again.
    const fence = encodeFence({ chainId: address.chainId, epoch, branchId: newId<BranchId>(), frozenPoint: null, left: null });
    await putBytes(world.store, chainNames.fence(epoch), fence.bytes);
    await world.extend();
    await world.carry();
    const { segments, lineage } = await world.chain.ledger.read(address);
    const mending = new MendFromCopy(database.unitOfWork, world.store, world.sites, new AuditLog());
    const settings = { ...SCRUB_SETTINGS, damagedEveryMs: 0 };
    const scrub = new ScrubChains(
      await database.platform(),
      database.unitOfWork,
      world.store,
      new SystemClock(),
      mending,
      new NoCrashPoints(),
      settings,
    );
    // Notes what the fence holds.
    await scrub.scrub(address, context.logger, context.signal);
    const damaged = [chainNames.segment(segments[0]!.sha256), chainNames.manifest(lineage[1]!.ref), chainNames.fence(epoch)];
    for (const key of damaged) {
      const bytes = await world.store.get(key);
      bytes[bytes.length >> 1]! ^= 4;
      await world.store.delete(key);
      await putBytes(world.store, key, bytes);
    }
    for (let turn = 0; turn < 2; turn += 1) await scrub.scrub(address, context.logger, context.signal);
    const names = damaged.map((key) => key.slice(chainNames.prefix.length)).sort();
    const mended = (await world.audited('chain.object-mended')) as { details: { object: string; site: string } }[];
    expect(mended.map(({ details }) => details.object).sort()).toEqual(names);
    expect(new Set(mended.map(({ details }) => details.site))).toEqual(new Set(['berlin']));
    expect(await database.asSuperuser(`select name from chain_damage where tenant_id = $1`, [world.tenantId])).toEqual([]);
    expect(await world.chain.wrongPoints()).toEqual([]);
  });
});
