import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redacted } from '#libs/kernel';
import { LOGIN_ROLES, type LoginRole } from '#libs/platform';
import { startEmbeddedPostgres } from '#libs/supervisor';
import { migrate } from '../../migrations/index.js';

/** What a test file needs to reach the run's PostgreSQL; plain data, since it crosses processes. */
export interface PostgresServer {
  /** The superuser's, on the template. */
  readonly superuserUrl: string;
  readonly rolePasswords: Record<LoginRole, string>;
}

/** The database that is migrated once and copied for each test file. Nobody may be connected to it meanwhile. */
export const TEMPLATE_DATABASE = 'holdfast';

/** It is thrown away: nothing needs to be synced. */
const THROWN_AWAY = { fsync: 'off', full_page_writes: 'off' };

/** A real PostgreSQL below the system's temporary directory, migrated as in production. `settings` where a commit is to cost what it costs. */
export async function startPostgresServer(
  settings: Readonly<Record<string, string>> = THROWN_AWAY,
): Promise<{ readonly server: PostgresServer; stop(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-postgres-'));
  await chmod(directory, 0o755);
  const postgres = await startEmbeddedPostgres({ dataDir: join(directory, 'data'), settings: { ...settings, max_connections: '300' } });
  const stop = async (): Promise<void> => {
    await postgres.stop();
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const passwords = LOGIN_ROLES.map((role) => [role, randomBytes(12).toString('hex')] as const);
    await migrate({
      ownerUrl: new Redacted(postgres.ownerUrl),
      rolePasswords: Object.fromEntries(passwords.map(([role, password]) => [role, new Redacted(password)])),
    });
    const rolePasswords = Object.fromEntries(passwords) as Record<LoginRole, string>;
    return { server: { superuserUrl: postgres.superuserUrl, rolePasswords }, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
