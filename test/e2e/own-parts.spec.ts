import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { SilentLogger, SystemClock } from '#libs/kernel';
import { type EmbeddedPostgres, freePort, startEmbeddedPostgres, SupervisedProcess } from '#libs/supervisor';
import { type S3Server, startS3Server } from '../support/ceph-rgw.js';
import { eventually } from '../support/eventually.js';
import { HoldfastUp } from '../support/holdfast-up.js';

/* `holdfast up` on services of one's own in place of those that it brings along: PostgreSQL, Redis with a password, an S3 bucket. */

const REDIS_PASSWORD = 'a password of one’s own/%';
const NO_S3 = 'radosgw is not installed';
const hasS3 =
  process.env['HOLDFAST_S3_ENDPOINT'] !== undefined ||
  (process.env['PATH'] ?? '').split(delimiter).some((directory) => existsSync(join(directory, 'radosgw')));

let dir: string;
let postgres: EmbeddedPostgres;
let redis: SupervisedProcess;
let redisUrl: string;
let s3: S3Server | undefined;
let databases = 0;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdfast-own-'));
  await chmod(dir, 0o711);
  postgres = await startEmbeddedPostgres({ dataDir: join(dir, 'postgres'), settings: { fsync: 'off' } });
  [redis, redisUrl] = await startOwnRedis(dir);
  if (hasS3) s3 = await startS3Server();
}, 180_000);
afterAll(async () => {
  await s3?.stop();
  await redis?.stop();
  await postgres?.stop();
  await rm(dir, { recursive: true, force: true });
});

let holdfast: HoldfastUp;

beforeEach(() => {
  holdfast = new HoldfastUp();
});
afterEach(() => holdfast.remove());

type Part = 'postgres' | 'redis' | 'store';
const PARTS: readonly Part[] = ['postgres', 'redis', 'store'];

/** What `up` is told to use of one's own: an empty database, the Redis emptied, a new bucket. */
async function settingsFor(parts: readonly Part[]): Promise<Record<string, string>> {
  const settings: Record<string, string> = {};
  if (parts.includes('postgres')) settings['DATABASE_URL'] = await emptyDatabase();
  if (parts.includes('redis')) {
    await withRedis((client) => client.flushall());
    settings['REDIS_URL'] = redisUrl;
  }
  if (!parts.includes('store')) return settings;
  const { endpoint, accessKeyId, secretAccessKey, region } = s3!.access;
  return {
    ...settings,
    STORE_URL: `s3://${await s3!.makeBucket()}/holdfast`,
    S3_ENDPOINT: endpoint,
    S3_REGION: region!,
    S3_ACCESS_KEY_ID: accessKeyId,
    S3_SECRET_ACCESS_KEY: secretAccessKey.reveal(),
    S3_FORCE_PATH_STYLE: 'true',
  };
}

/** Starts it and asks whether it is ready, for which it writes into database and store; then sees what it brought along, and what it used. */
async function startWith(own: readonly Part[]): Promise<{ readonly apiUrl: string; stop(): Promise<void> }> {
  const settings = await settingsFor(own);
  const run = holdfast.up([], settings);
  const apiUrl = await holdfast.isUp(run);
  expect(await (await fetch(`${apiUrl}/health/ready`)).json()).toEqual({ status: 'ready' });

  const broughtAlong = PARTS.filter((part) => existsSync(join(holdfast.dataDir, part)));
  expect(broughtAlong).toEqual(PARTS.filter((part) => !own.includes(part)));
  const processes = /Processes\W+([^│]+)/.exec(run.said())![1]!;
  for (const part of ['postgres', 'redis'] as const) expect(processes.includes(part), processes).toBe(!own.includes(part));

  if (own.includes('postgres')) expect(await operatorsIn(settings['DATABASE_URL']!)).toBe(1);
  if (own.includes('redis')) await eventually('jobs are in its Redis', async () => (await withRedis((client) => client.dbsize())) > 0);
  return {
    apiUrl,
    async stop() {
      run.child.kill('SIGINT');
      expect(await run.exited).toBe(0);
      expect(holdfast.processes()).toEqual([]);
    },
  };
}

describe('holdfast up with one part of one’s own brings the others along', () => {
  it.for<Part>(PARTS)('%s', async (part, { skip }) => {
    if (part === 'store' && s3 === undefined) skip(NO_S3);
    await (await startWith([part])).stop();
  });
});

describe('holdfast up with every part of one’s own', () => {
  it('starts none, and leaves them running', async ({ skip }) => {
    if (s3 === undefined) skip(NO_S3);
    await (await startWith(PARTS)).stop();
    expect(await withRedis((client) => client.ping())).toBe('PONG');
    expect(await query(postgres.ownerUrl, 'select 1 as one')).toEqual([{ one: 1 }]);
  });

  it('is not ready once its bucket is out of reach', async ({ skip }) => {
    if (s3 === undefined) skip(NO_S3);
    if (process.env['HOLDFAST_S3_ENDPOINT'] !== undefined) skip('this S3 server is not the test’s to stop');
    const { apiUrl, stop } = await startWith(PARTS);
    await s3!.stop();
    const readiness = async (): Promise<unknown> => (await fetch(`${apiUrl}/health/ready`)).json();
    await expect.poll(readiness, { timeout: 60_000 }).toEqual({ status: 'not-ready', failing: ['object-store'] });
    await stop();
  });
});

/** A server on a port, as one would have it on another machine. */
async function startOwnRedis(above: string): Promise<[SupervisedProcess, string]> {
  const port = await freePort('127.0.0.1');
  const url = `redis://:${encodeURIComponent(REDIS_PASSWORD)}@127.0.0.1:${port}`;
  const flags = { port, bind: '127.0.0.1', requirepass: REDIS_PASSWORD, save: '', dir: above, 'maxmemory-policy': 'noeviction' };
  const spec = {
    name: 'redis',
    command: '/usr/bin/redis-server',
    args: Object.entries(flags).flatMap(([name, value]) => [`--${name}`, `${value}`]),
    env: { PATH: process.env['PATH'] ?? '' },
    logFile: join(above, 'redis.log'),
    readiness: () => answers(url),
  };
  return [await SupervisedProcess.start(spec, new SystemClock(), new SilentLogger()), url];
}

async function answers(url: string): Promise<boolean> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.ping()) === 'PONG';
  } catch {
    return false;
  } finally {
    client.disconnect();
  }
}

async function withRedis<T>(work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(redisUrl);
  try {
    return await work(client);
  } finally {
    client.disconnect();
  }
}

async function emptyDatabase(): Promise<string> {
  databases += 1;
  const url = new URL(postgres.ownerUrl);
  await query(url.href, `create database own_${databases}`);
  url.pathname = `/own_${databases}`;
  return url.href;
}

async function operatorsIn(ownerUrl: string): Promise<number> {
  const url = new URL(postgres.superuserUrl);
  url.pathname = new URL(ownerUrl).pathname;
  const [row] = await query<{ operators: number }>(url.href, 'select count(*)::int as operators from operator');
  return row!.operators;
}

async function query<R extends object>(url: string, sql: string): Promise<R[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<R>(sql)).rows;
  } finally {
    await client.end();
  }
}
