import { chmod, mkdir, rename, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Redacted } from '#libs/kernel';
import { freePort } from '#libs/supervisor';
import { startTestApi } from '../support/api.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { FailoverWorld } from '../support/failover-world.js';
import { startTestSite, type TestPeer, type TestSite } from '../support/receiver.js';

/* What api and receiver need before they say that they are ready, each taken away and given back. Redis is not among it. */

let database: TestDatabase;
let site: TestSite;
let peer: TestPeer;

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  peer = await site.enrolReplicaNode('rn1.provider.example');
});
afterAll(async () => {
  await site?.close();
  await database?.drop();
});

const api = async (): Promise<unknown> => (await site.api.request().get('/health/ready')).body;
const receiver = async (): Promise<unknown> => (await peer.get('/health/ready')).body;
const READY = { status: 'ready' };
const without = (...failing: string[]) => ({ status: 'not-ready', failing });

it('is ready with all there is', async () => {
  expect([await api(), await receiver()]).toEqual([READY, READY]);
});

it('is not without the store', async () => {
  const directory = fileURLToPath(site.shared.STORE_URL);
  await mkdir(directory, { recursive: true });
  await rename(directory, `${directory}.away`);
  // In its place something that is no directory: also root cannot write into it.
  await writeFile(directory, '');
  await chmod(directory, 0o400);
  expect(await receiver()).toEqual(without('object-store'));
  await rename(`${directory}.away`, `${directory}.back`);
  await rename(directory, `${directory}.file`);
  await rename(`${directory}.back`, directory);
  expect([await api(), await receiver()]).toEqual([READY, READY]);
});

it('is not with a database that takes no writes', async () => {
  await database.asSuperuser(`alter database ${database.name} set default_transaction_read_only = on`);
  await database.asSuperuser(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
  );
  await expect.poll(api, { timeout: 5_000 }).toMatchObject({ status: 'not-ready', failing: expect.arrayContaining(['database']) });
  await database.asSuperuser(`begin read write; alter database ${database.name} reset default_transaction_read_only; commit`);
  await database.asSuperuser(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
  );
  await expect.poll(api, { timeout: 10_000 }).toEqual(READY);
});

it("is not with another key-encryption key than the database's", async () => {
  const stranger = await startTestApi(database, { ...site.shared, KEK: new Redacted(randomBytes(32)) });
  try {
    expect((await stranger.request().get('/health/ready')).body).toEqual(without('key-encryption'));
  } finally {
    await stranger.close();
  }
});

it('of a worker needs Redis as well, and nobody else does', async () => {
  const world = await FailoverWorld.start();
  try {
    await world.stopWorker();
    const port = await freePort();
    await world.startWorker({ HEALTH_PORT: port });
    const worker = async (): Promise<unknown> => (await fetch(`http://127.0.0.1:${port}/health/ready`)).json();
    expect(await worker()).toEqual(READY);
    await world.redis.setEviction('allkeys-lru');
    expect(await worker()).toEqual(without('redis'));
    expect((await world.site.api.request().get('/health/ready')).body).toEqual(READY);
  } finally {
    await world.stop();
  }
});
