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

/** A real PostgreSQL below the system's temporary directory, migrated as in production. Nothing is synced: it is thrown away. */
export async function startPostgresServer(): Promise<{ readonly server: PostgresServer; stop(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-postgres-'));
  await chmod(directory, 0o755);
  const settings = { fsync: 'off', full_page_writes: 'off', max_connections: '300' };
  const postgres = await startEmbeddedPostgres({ dataDir: join(directory, 'data'), settings });
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
