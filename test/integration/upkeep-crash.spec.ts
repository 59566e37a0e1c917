import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { publicKeyHash, UPKEEP_OPTIONS, wrapKey } from '#libs/chain';
import { replicationPolicy } from '#libs/contracts/wire';
import { newId } from '#libs/kernel';
import { FileObjectStore, putBytes } from '#libs/object-store';
import { OpenGate, PostgresChainLedger, PostgresReplicaCatalogue, UPKEEP_CRASH_POINTS, type UpkeepCrashPoint } from '#libs/replication';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { MaintainedChain } from '../support/maintained-chain.js';
import { seedProtectedVm } from '../support/seed.js';
import { WorkerProcess } from '../support/worker-process.js';

/*
 * The worker is killed at every named place of looking after a chain, on PostgreSQL and a directory, and started again: every kept point reads right at each moment, and
 * in the end nothing is left that nothing refers to.
 */

const BLOCK_BYTES = 65_536;
const BLOCKS = 4 * (UPKEEP_OPTIONS.smallCount + 1);
const DEADLINE_MS = 60_000;

let directory: string;
let database: TestDatabase;
let store: FileObjectStore;
let chain: MaintainedChain;
let worker: WorkerProcess;
let relationshipId: string;
let publicationId: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-upkeep-crash-'));
  database = await createTestDatabase();
  store = await FileObjectStore.open(join(directory, 'store'));
  chain = new MaintainedChain({
    store,
    catalogue: new PostgresReplicaCatalogue(database.unitOfWork, new OpenGate(), 3_600_000),
    ledger: new PostgresChainLedger(database.unitOfWork),
    blocks: BLOCKS,
  });
  const { tenantId, chainId } = chain.address;
  await database.asSuperuser(`insert into tenant (id, slug, name) values ($1, 'contoso', 'Contoso')`, [tenantId]);
  await chain.create();
  await putKeys();
  // Its VM and relationship are those of another chain, which goes.
  const seeded = await seedProtectedVm(database, tenantId, { points: 1 });
  ({ relationshipId } = seeded);
  await run(`delete from point_export`);
  for (const table of ['recovery_point', 'chain_manifest', 'replication_cycle'])
    await run(`delete from ${table} where chain_id = $1`, [seeded.chainId]);
  await run(`update replication_relationship set chain_id = $1 where id = $2`, [chainId, relationshipId]);
  worker = await WorkerProcess.prepare(database, pathToFileURL(join(directory, 'store')).href);
});
afterAll(async () => {
  await worker?.remove();
  await database?.drop();
  await rm(directory, { recursive: true, force: true });
});

/** The wrapped keys that the catalogue was told of. */
async function putKeys(): Promise<void> {
  const recipientKey = generateKeyPairSync('rsa', { modulusLength: 3072 }).publicKey;
  const writerKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const { chainId } = chain.address;
  const recipient = publicKeyHash(recipientKey);
  await run(`update chain_key set recipient = $2 where chain_id = $1`, [chainId, recipient]);
  for (const { kind, generation } of await run(`select kind, generation from chain_key where chain_id = $1`, [chainId])) {
    const told = { kind: kind as 'data' | 'fingerprint', generation: Number(generation) };
    const { bytes } = wrapKey({ chainId, ...told, key: randomBytes(32), recipientKey, writerKey });
    await putBytes(store, chain.names.wrappedKey({ ...told, recipient }), bytes);
  }
}

const run = (sql: string, params: readonly unknown[] = []) => database.asSuperuser<Record<string, unknown>>(sql, params);

/** Where segments are put together, which is worth it for very many small ones alone: a segment has at most four of these blocks. */
const COMPACTED: ReadonlySet<UpkeepCrashPoint> = new Set(['segment-moved', 'records-moved', 'indexes-rewritten', 'segments-switched']);

/** A point of which nothing older is kept, and an object that nobody told of. */
async function wear(round: number, blocks: number): Promise<void> {
  for (let block = 0; block < blocks; block += 1) chain.write(block * BLOCK_BYTES, 5_000, 1 + round);
  await chain.commit();
  const kept = [...chain.kept.values()];
  for (const { point } of kept.slice(0, -1))
    await chain.deletePoint(point.id, async () => void (await run(`delete from recovery_point where id = $1`, [point.id])));
  await putBytes(store, `${chain.names.prefix}s/${'0'.repeat(63)}${round % 10}`, Buffer.from('a stray'));
}

/** Everything is a good day older, and each job is due. */
async function passTime(): Promise<void> {
  const aged: Readonly<Record<string, readonly string[]>> = {
    chain_segment: ['doomed_at', 'condemned_at'],
    chain_index: ['doomed_at'],
    chain_lease: ['resolved_at'],
    chain_stray: ['held_until', 'sighted_at', 'condemned_at', 'deleted_at'],
    chain_upkeep: ['maintained_at', 'collected_at', 'worker_until'],
    chain_retention: ['applied_at'],
    chain_scrub: ['due_at', 'scrubbed_at'],
    chain_object: ['verified_at'],
    publication: ['due_at'],
  };
  for (const [table, columns] of Object.entries(aged)) {
    const older = columns.map((column) => `${column} = ${column} - interval '25 days'`).join(', ');
    await run(`update ${table} set ${older} where chain_id = $1`, [chain.address.chainId]);
  }
  await run(`update replica_chain set created_at = created_at - interval '25 days' where id = $1`, [chain.address.chainId]);
}

/** What is kept is what the database says. */
async function expectAllKept(what: string): Promise<void> {
  const rows = await run(`select id from recovery_point where chain_id = $1`, [chain.address.chainId]);
  const ids = new Set(rows.map(({ id }) => id));
  for (const id of chain.kept.keys()) if (!ids.has(id)) chain.kept.delete(id);
  expect(chain.kept.size, what).toBe(ids.size);
  expect(chain.kept.size, what).toBeGreaterThan(0);
  expect(await chain.wrongPoints(), what).toEqual([]);
}

/** A worker that nobody ends, until it has looked after everything once. */
async function turn(): Promise<void> {
  await passTime();
  const [{ now } = {}] = await run(`select now()`);
  worker.start();
  const isDone = async (): Promise<boolean> => {
    const rows = await run(
      `select 1 from chain_upkeep u join chain_retention r on r.chain_id = u.chain_id join chain_scrub s on s.chain_id = u.chain_id
        where u.chain_id = $1 and least(u.maintained_at, u.collected_at, r.applied_at, s.scrubbed_at) > $2 and u.worker is null`,
      [chain.address.chainId, now],
    );
    return rows.length > 0;
  };
  await eventually('the worker to have looked after the chain', isDone, DEADLINE_MS);
  await worker.stop();
}

async function flip(name: string): Promise<void> {
  const key = chain.names.prefix + name;
  const bytes = Buffer.from(await store.get(key));
  bytes[bytes.length >> 1]! ^= 4;
  await store.delete(key);
  await putBytes(store, key, bytes);
}

/** At the same time it would find the damage first, or change what the scrub stands on. */
const restMaintenance = () => run(`update chain_upkeep set maintained_at = now() where chain_id = $1`, [chain.address.chainId]);

/** What a place needs beside a worn chain. */
const arrange: Partial<Record<UpkeepCrashPoint, () => Promise<void>>> = {
  'damage-noted': async () => {
    const { snapshot } = await chain.ledger.read(chain.address);
    await flip(`v/${String(snapshot!.sequence).padStart(10, '0')}-${snapshot!.sha256}`);
    await restMaintenance();
  },
  'index-dropped': async () => {
    await flip(`x/${(await chain.ledger.read(chain.address)).indexes[0]!.sha256}`);
    await restMaintenance();
  },
  'points-removed': async () => {
    for (let point = 0; point < 2; point += 1) await chain.commit();
    const policy = replicationPolicy.parse({ recoveryHistoryHours: 0, retention: { minimumAgeMinutes: 0 } });
    await run(`update replication_relationship set policy = $1 where id = $2`, [JSON.stringify(policy), relationshipId]);
  },
  'listing-stored': async () => {
    publicationId = newId();
    await run(
      `insert into publication (id, tenant_id, relationship_id, chain_id, format, points, follow) values ($1, $2, $3, $4, 'vhdx', '{"kind":"all"}', true)`,
      [publicationId, chain.address.tenantId, relationshipId, chain.address.chainId],
    );
  },
  'listing-noted': async () => {
    await run(`update publication set index_sha256 = null where id = $1`, [publicationId]);
  },
  'publication-swept': async () => {
    await run(`update publication set state = 'Deleting' where id = $1`, [publicationId]);
  },
};

it('lets a worker die anywhere', { timeout: 20 * DEADLINE_MS }, async () => {
  chain.write(0, BLOCKS * BLOCK_BYTES, 3);
  await chain.commit();
  for (const [round, point] of UPKEEP_CRASH_POINTS.entries()) {
    await wear(round, COMPACTED.has(point) ? BLOCKS : 8);
    await passTime();
    await arrange[point]?.();
    await worker.untilKilledAt(point, DEADLINE_MS);
    await expectAllKept(`killed at ${point}`);
  }
  for (let round = 0; round < 3; round += 1) await turn();
  await expectAllKept('in the end');
  const names: string[] = [];
  for await (const { key } of store.list(chain.names.prefix)) names.push(key.slice(chain.names.prefix.length));
  const collected = names.filter((name) => !name.startsWith('k/'));
  expect(await chain.ledger.strangersAmong(chain.address, collected)).toEqual([]);
  const { segments } = await chain.ledger.read(chain.address);
  expect(names.filter((name) => name.startsWith('s/'))).toHaveLength(segments.length);
  expect(await run(`select 1 from publication`)).toEqual([]);
});
