import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { Redacted } from '#libs/kernel';
import { openDatabase } from '#libs/platform';
import { MIGRATIONS, migrate } from '../../../migrations/index.js';

/** A server of somebody else's: their superuser, an empty database of their own. */
const admin = (database: string): string => {
  const url = new URL(inject('postgres').superuserUrl);
  url.pathname = `/${database}`;
  return url.href;
};
const statement = async <R extends object>(url: string, sql: string): Promise<R[]> => {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<R>(sql)).rows;
  } finally {
    await client.end();
  }
};

const suffix = randomBytes(4).toString('hex');
const databases = [`migrate_super_${suffix}`, `migrate_owner_${suffix}`];
const owner = `somebody_${suffix}`;

beforeAll(async () => {
  await statement(admin('postgres'), `create role ${owner} login createrole password 'theirs'`);
  await statement(admin('postgres'), `create database ${databases[0]}`);
  await statement(admin('postgres'), `create database ${databases[1]} owner ${owner}`);
});
afterAll(async () => {
  for (const name of databases) await statement(admin('postgres'), `drop database if exists ${name} with (force)`);
  await statement(admin('postgres'), `drop role if exists ${owner}`);
});

describe('migrate', () => {
  it('runs as a superuser of an outside server, by three at once, and finds nothing to do afterwards', async () => {
    const url = new Redacted(admin(databases[0]!));
    const runs = await Promise.all([1, 2, 3].map(() => migrate({ ownerUrl: url, rolePasswords: {} })));
    expect(runs.map(({ applied }) => applied.length).sort()).toEqual([0, 0, MIGRATIONS.length]);
    const owners = await statement<{ tableowner: string }>(
      admin(databases[0]!),
      `select distinct tableowner from pg_tables where schemaname = 'public'`,
    );
    expect(owners).toEqual([{ tableowner: 'holdfast_owner' }]);
  });

  it('runs as the owner of a database who may make roles, on a server where the roles stand already', async () => {
    const url = new URL(admin(databases[1]!));
    [url.username, url.password] = [owner, 'theirs'];
    // Whoever made the roles lends them; here that was somebody else, who has to say so.
    await statement(admin('postgres'), `grant holdfast_owner to ${owner}`);
    const { applied } = await migrate({ ownerUrl: new Redacted(url.href), rolePasswords: {} });
    expect(applied).toHaveLength(MIGRATIONS.length);
  });

  it('says in one sentence that a password is wrong', async () => {
    const wrong = new URL(admin(databases[0]!));
    wrong.password = 'wrong';
    const run = migrate({ ownerUrl: new Redacted(wrong.href), rolePasswords: {} });
    await expect(run).rejects.toMatchObject({ code: 'database.login-refused' });
  });

  it('gives the roles their passwords, so that they can log in', async () => {
    const password = inject('postgres').rolePasswords.holdfast_app;
    await migrate({ ownerUrl: new Redacted(admin(databases[0]!)), rolePasswords: { holdfast_app: new Redacted(password) } });
    const url = new URL(admin(databases[0]!));
    [url.username, url.password] = ['holdfast_app', password];
    const dataSource = await openDatabase({ url: new Redacted(url.href), name: 'DATABASE_URL', role: 'holdfast_app' });
    await dataSource.destroy();
  });
});
