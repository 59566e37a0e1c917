import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeFence, maintainChain, stampStore, type Installation } from '#libs/chain';
import { type BranchId, newId, NoCrashPoints, SilentLogger, SystemClock } from '#libs/kernel';
import { MemoryObjectStore, type ObjectStore, putBytes } from '#libs/object-store';
import {
  knownDocuments,
  MendFromCopy,
  OpenGate,
  PostgresChainLedger,
  PostgresReplicaCatalogue,
  SCRUB_SETTINGS,
  ScrubChains,
  ThirdSites,
} from '#libs/replication';
import { AuditLog } from '#libs/tenancy';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { MaintainedChain } from '../support/maintained-chain.js';
import { seedProtectedVm } from '../support/seed.js';

const BLOCK_BYTES = 65_536;
const context = { logger: new SilentLogger(), signal: new AbortController().signal };

let database: TestDatabase;
beforeAll(async () => void (database = await createTestDatabase({ poolSize: 8 })));
afterAll(() => database?.drop());

/** A chain whose rows are in PostgreSQL, with indexed layers and one that is not. */
async function newChain(prepare: (chain: MaintainedChain) => Promise<void> = async () => {}): Promise<MaintainedChain> {
  const [installation] = await database.asSuperuser<Installation & Record<string, unknown>>(`select id, incarnation from installation`);
  const chain = new MaintainedChain({
    store: new MemoryObjectStore(),
    catalogue: new PostgresReplicaCatalogue(database.unitOfWork, new OpenGate(), 3_600_000),
    ledger: new PostgresChainLedger(database.unitOfWork),
    blocks: 6,
  });
  const { tenantId } = chain.address;
  await database.asSuperuser(`insert into tenant (id, slug, name) values ($1, $2, 'Contoso')`, [tenantId, `t-${tenantId.slice(-12)}`]);
  await stampStore(chain.store, installation!);
  await chain.create();
  await prepare(chain);
  for (let round = 1; round <= 4; round += 1) {
    chain.write((round % 3) * BLOCK_BYTES, 2 * BLOCK_BYTES, round);
    await chain.commit();
  }
  // The catalogue knows of a wrapped key that no test stored.
  await database.asSuperuser(`delete from chain_key where chain_id = $1`, [chain.address.chainId]);
  await maintainChain(chain.upkeep());
  return chain;
}

const mendingFrom = (store: ObjectStore, sites: ThirdSites): MendFromCopy =>
  new MendFromCopy(database.unitOfWork, store, sites, new AuditLog());

const newJob = async ({ store }: MaintainedChain, sites = new ThirdSites()): Promise<ScrubChains> =>
  new ScrubChains(
    await database.platform(),
    database.unitOfWork,
    store,
    new SystemClock(),
    mendingFrom(store, sites),
    new NoCrashPoints(),
    {
      ...SCRUB_SETTINGS,
      damagedEveryMs: 0,
      options: { ...SCRUB_SETTINGS.options, sampleCount: 1 },
    },
  );

const rowsOf = (table: string, { address }: MaintainedChain): Promise<Record<string, unknown>[]> =>
  database.asSuperuser(`select * from ${table} where chain_id = $1 order by 1, 2, 3`, [address.chainId]);

async function pass(interval: string, { address }: MaintainedChain): Promise<void> {
  for (const [table, column] of [
    ['chain_object', 'verified_at'],
    ['chain_scrub', 'due_at'],
    ['chain_scrub', 'scrubbed_at'],
    ['replica_chain', 'created_at'],
  ])
    await database.asSuperuser(
      `update ${table} set ${column} = ${column} - $2::interval where ${table === 'replica_chain' ? 'id' : 'chain_id'} = $1`,
      [address.chainId, interval],
    );
}

async function flip(chain: MaintainedChain, name: string): Promise<Buffer> {
  const key = chain.names.at(name);
  const bytes = await chain.store.get(key);
  const damaged = Buffer.from(bytes);
  damaged[damaged.length >> 1]! ^= 4;
  await chain.store.delete(key);
  await putBytes(chain.store, key, damaged);
  return bytes;
}

describe('the scrub of the worker', () => {
  it('reads every object within its time, notes when, and takes each chain in its turn', async () => {
    const chain = await newChain();
    const job = await newJob(chain);
    await job.run(context);
    expect(await rowsOf('chain_scrub', chain)).toEqual([]);
    await pass('7 days', chain);
    await job.run(context);
    const objects = await rowsOf('chain_object', chain);
    expect(objects.length).toBeGreaterThan(8);
    expect(await rowsOf('chain_scrub', chain)).toMatchObject([{ failure_code: null, scrubbed_at: expect.any(Date) }]);
    await pass('24 days', chain);
    await job.run(context);
    const dayAgo = Date.now() - 86_400_000;
    for (const { name, verified_at } of await rowsOf('chain_object', chain))
      expect((verified_at as Date).getTime(), String(name)).toBeGreaterThan(dayAgo);
    const [{ due_at, verified_objects } = {}] = await rowsOf('chain_scrub', chain);
    expect((due_at as Date).getTime()).toBeGreaterThan(Date.now() + 5 * 86_400_000);
    expect(Number(verified_objects)).toBeGreaterThanOrEqual(objects.length);
  });

  it('puts a damaged segment into quarantine, raises the alarm once, and ends it when the bytes are right again', async () => {
    const chain = await newChain();
    const job = await newJob(chain);
    await pass('7 days', chain);
    await job.run(context);
    const { segments } = await chain.ledger.read(chain.address);
    const newest = [...chain.kept.values()].at(-1)!.point.ref.cycle;
    const damaged = segments.find(({ cycle }) => cycle === newest)!;
    const sound = await flip(chain, `s/${damaged.sha256}`);
    await pass('24 days', chain);
    for (let round = 0; round < 2; round += 1) await job.run(context);
    expect(await rowsOf('chain_damage', chain)).toMatchObject([
      { name: `s/${damaged.sha256}`, kind: 'segment', code: 'view.hash-mismatch', positions: [newest.toString(16).padStart(16, '0')] },
    ]);
    const alarms = await database.asSuperuser(`select 1 from outbox_event where topic = 'replication.damage-found' and tenant_id = $1`, [
      chain.address.tenantId,
    ]);
    expect(alarms).toHaveLength(1);
    const key = chain.names.segment(damaged.sha256);
    await chain.store.delete(key);
    await putBytes(chain.store, key, sound);
    await job.run(context);
    expect(await rowsOf('chain_damage', chain)).toEqual([]);
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('writes again what the database knows of a chain, keeps its points out of it, fences too, and tells of one that it does not', async () => {
    let relationshipId = '';
    const chain = await newChain(async ({ address: { tenantId, chainId } }) => {
      ({ relationshipId } = await seedProtectedVm(database, tenantId, { points: 1 }));
      await database.asSuperuser(`insert into cycle_counter (tenant_id, counter) values ($1, 100)`, [tenantId]);
      await database.asSuperuser(`update replication_relationship set chain_id = $1 where id = $2`, [chainId, relationshipId]);
    });
    const { address, names, store } = chain;
    const { tenantId, chainId } = address;
    const publicKey = randomBytes(91);
    await database.asSuperuser(
      `insert into tenant_key (id, tenant_id, state, public_key, public_key_sha256, reference, holder, version)
       values ($1, $2, 'active', $3, $4, 'key-1', 'provider', 1)`,
      [newId(), tenantId, publicKey, createHash('sha256').update(publicKey).digest('hex')],
    );
    const documents = await database.unitOfWork.run(tenantId, (tx) => knownDocuments(tx, address));
    expect([...documents.keys()].map((name) => name.slice(0, 3)).sort()).toEqual(['/r/', '/t/', 'r/0']);
    for (const [name, bytes] of documents) await putBytes(store, names.at(name), bytes);
    // One that branches of the database make, and one that none does.
    const { id, ref: frozenPoint } = [...chain.kept.values()][1]!.point;
    const head = [...chain.kept.values()].at(-1)!.point.ref;
    const left = { branchId: chain.branchId, head };
    const opened = newId<BranchId>();
    const catalogue = new PostgresReplicaCatalogue(database.unitOfWork, new OpenGate(), 3_600_000);
    const { epoch: known } = await catalogue.openBranch({
      ...address,
      epoch: { incarnation: 1, counter: 1 },
      branchId: opened,
      frozenPoint: id,
    });
    const strange = { ...known, counter: known.counter + 1 };
    await putBytes(store, names.fence(known), encodeFence({ chainId, epoch: known, branchId: opened, frozenPoint, left }).bytes);
    await putBytes(store, names.fence(strange), encodeFence({ chainId, epoch: strange, branchId: newId(), frozenPoint, left }).bytes);
    const job = await newJob(chain);
    await pass('7 days', chain);
    await job.run(context);
    const broken = [...documents.keys(), ...[known, strange].map((epoch) => names.nameOf(names.fence(epoch)))];
    const sound = new Map<string, Buffer>();
    for (const name of broken) sound.set(name, await flip(chain, name));
    // One of them is gone.
    await store.delete(names.relationship(relationshipId));
    await pass('24 days', chain);
    await job.run(context);
    const kinds = (await rowsOf('chain_damage', chain)).map(({ kind, positions }) => [kind, positions]).sort();
    expect(kinds).toEqual([
      ['fence', []],
      ['fence', []],
      ['presence', []],
      ['relationship', []],
      ['tenant-key', []],
    ]);
    await job.run(context);
    expect(await rowsOf('chain_damage', chain)).toMatchObject([{ name: names.nameOf(names.fence(strange)), code: 'fence.hash-mismatch' }]);
    for (const name of broken.slice(0, -1)) expect((await store.get(names.at(name))).equals(sound.get(name)!), name).toBe(true);
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('drops a damaged index, which upkeep builds again', async () => {
    const chain = await newChain();
    const job = await newJob(chain);
    await pass('7 days', chain);
    await job.run(context);
    const [index] = (await chain.ledger.read(chain.address)).indexes;
    await flip(chain, `x/${index!.sha256}`);
    await pass('24 days', chain);
    await job.run(context);
    expect((await chain.ledger.read(chain.address)).indexes.map(({ sha256 }) => sha256)).not.toContain(index!.sha256);
    expect(await rowsOf('chain_damage', chain)).toEqual([]);
    await maintainChain(chain.upkeep());
    expect((await chain.ledger.read(chain.address)).indexes.map(({ sha256 }) => sha256)).toContain(index!.sha256);
    expect(await chain.wrongPoints()).toEqual([]);
  });
});
