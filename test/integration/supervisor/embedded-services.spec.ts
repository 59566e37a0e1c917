import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis as RedisClient } from 'ioredis';
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startEmbeddedPostgres, startRedis } from '#libs/supervisor';
import { eventually } from '../../support/eventually.js';
import { isAlive, kill9, runProgram, SUPERVISOR, temporaryDir } from './support.js';

const settings = { fsync: 'off' };
let dir: string;

beforeEach(() => {
  dir = temporaryDir();
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function query(connectionString: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

describe('startEmbeddedPostgres', () => {
  it('gives the owner a database of its own, keeps data and passwords, and ends', async () => {
    const first = await startEmbeddedPostgres({ dataDir: join(dir, 'postgres'), settings });
    const [who] = await query(
      first.ownerUrl,
      `select current_user, current_database(), rolsuper, rolbypassrls from pg_roles where rolname = current_user`,
    );
    expect(who).toEqual({ current_user: 'holdfast_owner', current_database: 'holdfast', rolsuper: false, rolbypassrls: false });
    await query(first.ownerUrl, 'create table kept (n int)');
    const pid = first.process.pid!;
    await first.stop();
    expect(isAlive(pid)).toBe(false);

    const second = await startEmbeddedPostgres({ dataDir: join(dir, 'postgres'), settings });
    try {
      expect(await query(second.ownerUrl, 'select count(*)::int as count from kept')).toEqual([{ count: 0 }]);
    } finally {
      await second.stop();
    }
  });

  it('refuses a wrong password', async () => {
    const postgres = await startEmbeddedPostgres({ dataDir: join(dir, 'postgres'), settings });
    try {
      const wrong = new URL(postgres.ownerUrl);
      wrong.password = 'wrong';
      await expect(query(wrong.href, 'select 1')).rejects.toThrow(/password authentication failed/);
    } finally {
      await postgres.stop();
    }
  });

  it('starts over a lock file whose number a stranger has by now, and leaves the stranger alone', async () => {
    const dataDir = join(dir, 'postgres');
    await (await startEmbeddedPostgres({ dataDir, settings })).stop();
    const stranger = await runProgram(dir, `console.log('1'); setInterval(() => {}, 1000);`);
    try {
      writeFileSync(join(dataDir, 'cluster', 'postmaster.pid'), `${stranger.child.pid}\n${join(dataDir, 'cluster')}\n`);
      await (await startEmbeddedPostgres({ dataDir, settings })).stop();
      expect(isAlive(stranger.child.pid!)).toBe(true);
    } finally {
      await kill9(stranger.child);
    }
  });

  it('says which directory is in the way of the system user', async (context) => {
    if (process.getuid?.() !== 0) context.skip();
    const closed = join(dir, 'closed');
    mkdirSync(closed, { mode: 0o700 });
    await expect(startEmbeddedPostgres({ dataDir: join(closed, 'postgres') })).rejects.toMatchObject({
      code: 'postgres.directory-unreachable',
      details: { directory: closed },
    });
  });
});

describe('startRedis', () => {
  it('answers on its socket, never evicts, and keeps what it was given', async () => {
    const redis = await startRedis({ dir: join(dir, 'redis') });
    const client = new RedisClient(redis.socketPath, { maxRetriesPerRequest: null });
    expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
    await client.set('kept', 'yes');
    await client.quit();
    await redis.stop();

    const again = await startRedis({ dir: join(dir, 'redis') });
    const second = new RedisClient(again.socketPath, { maxRetriesPerRequest: null });
    try {
      expect(await second.get('kept')).toBe('yes');
    } finally {
      await second.quit();
      await again.stop();
    }
  });

  it('refuses a path that no socket can have', async () => {
    await expect(startRedis({ dir: join(dir, 'x'.repeat(100)) })).rejects.toMatchObject({ code: 'redis.path-too-long' });
  });
});

describe('a killed supervisor', () => {
  it('leaves neither server running, and the next start goes on from its data', async () => {
    const { child, said } = await runProgram<{ postgres: number; redis: number }>(
      dir,
      `import { startEmbeddedPostgres, startRedis } from '${SUPERVISOR}';
       const postgres = await startEmbeddedPostgres({ dataDir: '${join(dir, 'postgres')}', settings: { fsync: 'off' } });
       const redis = await startRedis({ dir: '${join(dir, 'redis')}' });
       console.log(JSON.stringify({ postgres: postgres.process.pid, redis: redis.process.pid }));
       setInterval(() => {}, 1000);`,
    );
    await kill9(child);
    await eventually('both servers end', () => !isAlive(said.postgres) && !isAlive(said.redis));
    expect(readFileSync(join(dir, 'postgres', 'postgres.log'), 'utf8')).toContain('fast shutdown');

    const postgres = await startEmbeddedPostgres({ dataDir: join(dir, 'postgres'), settings });
    const redis = await startRedis({ dir: join(dir, 'redis') });
    await Promise.all([postgres.stop(), redis.stop()]);
  });
});
