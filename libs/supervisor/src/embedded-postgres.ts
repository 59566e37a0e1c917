import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { CodedError, SECOND_MS, SilentLogger, SystemClock, type Clock, type Logger } from '#libs/kernel';
import { makeDataDir } from './data-dir.js';
import { freePort } from './free-port.js';
import { endLeftoverServer } from './leftovers.js';
import { closedDirectoryAbove, postgresBinaries, type PostgresBinaries } from './postgres-binaries.js';
import { keptJson } from './kept-json.js';
import { SupervisedProcess } from './supervised-process.js';

const DATABASE = 'holdfast';
const SUPERUSER = 'postgres';
const OWNER = 'holdfast_owner';
const MAJOR_VERSION = '18';
/** Losing the race for a free port is rare; losing it this often is something else. */
const PORT_ATTEMPTS = 3;
const SERVER_ENV = { LC_ALL: 'C.UTF-8', PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

export interface EmbeddedPostgresOptions {
  /** The server's own directory; made when missing. As root it must lie where other system users can get through to (not below /root). */
  readonly dataDir: string;
  /** Default: `<dataDir>/postgres.log`. */
  readonly logFile?: string;
  /** Server settings, as `postgresql.conf` names them. Tests pass `{ fsync: 'off' }`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Marks the server for {@link endLeftoverProcesses}. */
  readonly env?: Readonly<Record<string, string>>;
  readonly clock?: Clock;
  readonly logger?: Logger;
  /** Gives up the start; nothing is left running. */
  readonly signal?: AbortSignal;
}

export interface EmbeddedPostgres {
  readonly host: string;
  readonly port: number;
  /** `postgres`, the bootstrap superuser, on the database `holdfast`. For tests and repair only. */
  readonly superuserUrl: string;
  /** `holdfast_owner` on the database `holdfast`, which it owns; may create roles and databases. Migrations run as this one. */
  readonly ownerUrl: string;
  readonly process: SupervisedProcess;
  /** Fast shutdown: open transactions are rolled back, then the server ends in order. */
  stop(): Promise<void>;
}

/**
 * A real PostgreSQL on loopback, any free port, from the npm package's binaries; initialised on first use, data kept.
 * Leftovers of a killed run, a server included, are ended first. Throws `postgres.*` with a sentence for people.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const clock = options.clock ?? new SystemClock();
  const logger = options.logger ?? new SilentLogger();
  const dataDir = resolve(options.dataDir);
  const cluster = join(dataDir, 'cluster');
  const binaries = postgresBinaries();
  prepareDirectory(dataDir, binaries);
  const passwords = keptJson(join(dataDir, 'passwords.json'), () => ({ superuser: newPassword(), owner: newPassword() }));

  await endLeftoverServer(cluster, clock);
  if (!existsSync(cluster)) await initialise(cluster, binaries, passwords.superuser, options);
  assertVersion(cluster);

  const { process, port } = await startServer(cluster, binaries, passwords.superuser, options, clock, logger);
  try {
    await ensureOwnerAndDatabase(urlOf(SUPERUSER, passwords.superuser, port, 'postgres'), passwords.owner);
  } catch (error) {
    await process.stop();
    throw error;
  }
  return {
    host: '127.0.0.1',
    port,
    superuserUrl: urlOf(SUPERUSER, passwords.superuser, port, DATABASE),
    ownerUrl: urlOf(OWNER, passwords.owner, port, DATABASE),
    process,
    stop: () => process.stop(),
  };
}

function prepareDirectory(dataDir: string, { user }: PostgresBinaries): void {
  makeDataDir(dataDir);
  if (user === undefined) return;
  const closed = closedDirectoryAbove(dataDir);
  if (closed === undefined) return;
  const message = `PostgreSQL's system user cannot get through ${closed} to ${dataDir}; choose a data directory elsewhere, for example below /var/lib`;
  throw new CodedError('postgres.directory-unreachable', 'invalid', message, { directory: closed });
}

/** Built beside and renamed, so that a crash here leaves either no cluster or a whole one. */
async function initialise(
  cluster: string,
  { initdb, user }: PostgresBinaries,
  superuserPassword: string,
  { signal, settings }: EmbeddedPostgresOptions,
): Promise<void> {
  const building = `${cluster}.new`;
  const passwordFile = `${cluster}.password`;
  rmSync(building, { recursive: true, force: true });
  mkdirSync(building, { mode: 0o700 });
  writeFileSync(passwordFile, superuserPassword, { mode: 0o600 });
  if (user !== undefined) for (const path of [building, passwordFile]) chownSync(path, user.uid, user.gid);
  const flags = ['--auth=scram-sha-256', `--username=${SUPERUSER}`, `--pwfile=${passwordFile}`, '--encoding=UTF8', '--locale=C.UTF-8'];
  if (settings?.['fsync'] === 'off') flags.push('--no-sync');
  try {
    await promisify(execFile)(initdb, ['--pgdata', building, ...flags], {
      ...user,
      env: SERVER_ENV,
      cwd: '/',
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (cause) {
    signal?.throwIfAborted();
    const said = String((cause as { stderr?: unknown }).stderr ?? '');
    const line = said.split('\n').findLast((text) => /error|fatal|could not/i.test(text)) ?? said.trim().split('\n').at(-1);
    throw new CodedError(
      'postgres.not-initialised',
      'unavailable',
      `PostgreSQL could not make its data directory: ${line ?? 'unknown'}`,
      {},
      cause,
    );
  } finally {
    rmSync(passwordFile, { force: true });
  }
  renameSync(building, cluster);
}

function assertVersion(cluster: string): void {
  const found = readFileSync(join(cluster, 'PG_VERSION'), 'utf8').trim();
  if (found === MAJOR_VERSION) return;
  const message = `the data in ${cluster} is of PostgreSQL ${found}, this is ${MAJOR_VERSION}; move it with pg_upgrade, or bring your own server with DATABASE_URL`;
  throw new CodedError('postgres.other-version', 'invalid', message, { found });
}

async function startServer(
  cluster: string,
  binaries: PostgresBinaries,
  superuserPassword: string,
  options: EmbeddedPostgresOptions,
  clock: Clock,
  logger: Logger,
): Promise<{ process: SupervisedProcess; port: number }> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const settings = {
      listen_addresses: '127.0.0.1',
      port: `${port}`,
      unix_socket_directories: '',
      max_connections: '200',
      ...options.settings,
    };
    const spec = {
      name: 'postgres',
      command: binaries.postgres,
      args: ['-D', cluster, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      env: { ...SERVER_ENV, ...options.env },
      cwd: '/',
      ...(binaries.user === undefined ? {} : { user: binaries.user }),
      logFile: options.logFile ?? join(cluster, '..', 'postgres.log'),
      // SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client.
      stopSignal: 'SIGINT',
      stopGraceMs: 30 * SECOND_MS,
      readiness: () => answers(urlOf(SUPERUSER, superuserPassword, port, 'postgres')),
    } as const;
    try {
      return { process: await SupervisedProcess.start(spec, clock, logger, options.signal), port };
    } catch (error) {
      if (attempt === PORT_ATTEMPTS || !/address already in use|could not bind/i.test(String(error))) throw error;
    }
  }
}

async function answers(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2 * SECOND_MS });
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function ensureOwnerAndDatabase(adminUrl: string, ownerPassword: string): Promise<void> {
  const client = new Client({ connectionString: adminUrl });
  await client.connect();
  try {
    const role = await client.query('select 1 from pg_roles where rolname = $1', [OWNER]);
    if (role.rowCount === 0) {
      await client.query(`create role ${OWNER} login createrole createdb password ${client.escapeLiteral(ownerPassword)}`);
    }
    const database = await client.query('select 1 from pg_database where datname = $1', [DATABASE]);
    if (database.rowCount === 0) await client.query(`create database ${DATABASE} owner ${OWNER}`);
  } finally {
    await client.end();
  }
}

function urlOf(user: string, password: string, port: number, database: string): string {
  return `postgresql://${user}:${password}@127.0.0.1:${port}/${database}`;
}

/** Hex, so that it needs no escaping in an URL. */
function newPassword(): string {
  return randomBytes(24).toString('hex');
}
