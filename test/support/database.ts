import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import type { DataSource } from 'typeorm';
import { inject } from 'vitest';
import { Redacted } from '#libs/kernel';
import {
  APP_ROLE,
  type LoginRole,
  openDatabase,
  type PlatformRole,
  PlatformUnitOfWork,
  StartGate,
  UnitOfWork,
  WORKER_ROLE,
} from '#libs/platform';
import { TEMPLATE_DATABASE } from './postgres-server.js';

export interface TestDatabase {
  readonly name: string;
  /** Tenant transactions, as every process makes them. */
  readonly unitOfWork: UnitOfWork;
  /** Cross-tenant transactions of one process's role. */
  platform(role?: PlatformRole): Promise<PlatformUnitOfWork>;
  /** The URL a process would get as `DATABASE_URL` or `PLATFORM_DATABASE_URL`. */
  url(role: LoginRole): string;
  /** A superuser's URL: only to look behind the policies or to break things. */
  readonly superuserUrl: string;
  /** A statement as the superuser, past every policy. For arranging and for looking; never what a test is about. */
  asSuperuser<R extends object>(sql: string, params?: readonly unknown[]): Promise<R[]>;
  /** Closes what is open on it, so that it can be copied. */
  disconnect(): Promise<void>;
  drop(): Promise<void>;
}

export interface TestDatabaseOptions {
  readonly poolSize?: number;
  /** As this one is now, in place of an empty one: what a backup holds. It must be disconnected. */
  readonly copyOf?: TestDatabase;
  /** Of the process that its transactions stand for; open where none is given. */
  readonly startGate?: StartGate;
}

/** A fresh database with every migration, copied from the template in some 50 ms. One per test file; drop it in `afterAll`. */
export async function createTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const server = inject('postgres');
  const name = `test_${randomBytes(6).toString('hex')}`;
  const urlOf = (database: string, user?: { name: string; password: string }): string => {
    const url = new URL(server.superuserUrl);
    url.pathname = `/${database}`;
    if (user !== undefined) [url.username, url.password] = [user.name, user.password];
    return url.href;
  };
  const adminUrl = urlOf('postgres');
  const superuserUrl = urlOf(name);
  const url = (role: LoginRole): string => urlOf(name, { name: role, password: server.rolePasswords[role] });
  await asAdmin(adminUrl, `create database ${name} template ${options.copyOf?.name ?? TEMPLATE_DATABASE}`);

  const gate = options.startGate ?? new StartGate();
  const opened: DataSource[] = [];
  const open = async (role: LoginRole): Promise<DataSource> => {
    const dataSource = await openDatabase({ url: new Redacted(url(role)), name: role, role, poolSize: options.poolSize ?? 5 });
    opened.push(dataSource);
    return dataSource;
  };
  const disconnect = async (): Promise<void> => {
    await Promise.all(opened.splice(0).map((dataSource) => dataSource.destroy()));
  };
  const platforms = new Map<PlatformRole, Promise<PlatformUnitOfWork>>();
  return {
    name,
    superuserUrl,
    url,
    unitOfWork: new UnitOfWork(await open(APP_ROLE), gate),
    platform(role = WORKER_ROLE) {
      const known = platforms.get(role);
      if (known !== undefined) return known;
      const made = open(role).then((dataSource) => new PlatformUnitOfWork(dataSource, gate));
      platforms.set(role, made);
      return made;
    },
    asSuperuser: (sql, params) => asAdmin(superuserUrl, sql, params),
    disconnect,
    async drop() {
      await disconnect();
      await asAdmin(adminUrl, `drop database if exists ${name} with (force)`);
    },
  };
}

async function asAdmin<R extends object>(url: string, sql: string, params: readonly unknown[] = []): Promise<R[]> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<R>(sql, [...params])).rows;
  } finally {
    await client.end();
  }
}
