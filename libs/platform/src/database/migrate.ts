import { Client } from 'pg';
import type { MigrationInterface } from 'typeorm';
import { DataSource } from 'typeorm';
import { type Clock, type Redacted, retry, SystemClock } from '#libs/kernel';
import { newDataSource } from './data-source.js';
import { startUpError } from './errors.js';
import { LOGIN_ROLES, type LoginRole, OWNER_ROLE } from './roles.js';

export interface MigrateOptions {
  /** A superuser, or a role that may create roles and owns the database. It is used for this and nothing else. */
  readonly ownerUrl: Redacted;
  /** Passwords to give the login roles. A role without one keeps what it has. */
  readonly rolePasswords: Partial<Record<LoginRole, Redacted>>;
  readonly migrations: readonly (new () => MigrationInterface)[];
  readonly clock?: Clock;
}

/** Any constant will do: it only has to be the same in every process that migrates. */
const MIGRATION_LOCK = 4_104_001;

/**
 * Brings roles and tables to this version. Roles belong to the whole server: they are made if missing and never dropped.
 * Each migration runs in its own transaction, as `holdfast_owner`. Safe to run twice and by several processes at once.
 */
export async function migrateDatabase(options: MigrateOptions): Promise<{ readonly applied: readonly string[] }> {
  const client = new Client({ connectionString: options.ownerUrl.reveal(), connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
  } catch (error) {
    throw startUpError(error, 'the owner database URL');
  }
  try {
    await client.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]);
    await ensureRoles(client, options);
    return { applied: await runMigrations(options) };
  } finally {
    await client.end();
  }
}

/** Databases of one server share the roles, so another migration may change them in the same moment: then try again. */
async function ensureRoles(client: Client, options: MigrateOptions): Promise<void> {
  const clash = new Set(['XX000', '42710', '23505', '40001']);
  const policy = {
    attemptsMax: 10,
    firstDelayMs: 20,
    delayMaxMs: 500,
    isRetryable: (error: unknown) => clash.has((error as { code?: string }).code ?? ''),
  };
  const clock = options.clock ?? new SystemClock();
  for (const role of [OWNER_ROLE, ...LOGIN_ROLES]) await retry(policy, clock, () => ensureRole(client, role, options.rolePasswords));
  await retry(policy, clock, () => letOwnerOwn(client));
}

async function ensureRole(client: Client, role: string, passwords: MigrateOptions['rolePasswords']): Promise<void> {
  const { rowCount } = await client.query('select from pg_roles where rolname = $1', [role]);
  if (rowCount === 0) await client.query(`create role ${role} ${role === OWNER_ROLE ? 'nologin' : 'login'}`);
  const password = passwords[role as LoginRole];
  if (password === undefined) return;
  const { rows } = await client.query<{ sql: string }>(`select format('alter role %I login password %L', $1::text, $2::text) as sql`, [
    role,
    password.reveal(),
  ]);
  await client.query(rows[0]!.sql);
}

async function letOwnerOwn(client: Client): Promise<void> {
  const { rows } = await client.query<{ member: boolean; may_create: boolean; database: string }>(
    `select pg_has_role(current_user, '${OWNER_ROLE}', 'member') as member,
            has_schema_privilege('${OWNER_ROLE}', 'public', 'create') as may_create`,
  );
  if (!rows[0]!.member) await client.query(`grant ${OWNER_ROLE} to current_user`);
  if (!rows[0]!.may_create) await client.query(`grant usage, create on schema public to ${OWNER_ROLE}`);
}

async function runMigrations(options: MigrateOptions): Promise<string[]> {
  const base = newDataSource(options.ownerUrl, { poolSize: 1, settings: { role: OWNER_ROLE } });
  const dataSource = new DataSource({
    ...base.options,
    migrations: [...options.migrations],
    migrationsTableName: 'migration',
  } as typeof base.options);
  await dataSource.initialize();
  try {
    const applied = await dataSource.runMigrations({ transaction: 'each' });
    return applied.map(({ name }) => name);
  } finally {
    await dataSource.destroy();
  }
}
