import { types } from 'pg';
import { DataSource } from 'typeorm';
import { assert, CodedError, type Redacted } from '#libs/kernel';
import { startUpError } from './errors.js';
import type { LoginRole } from './roles.js';

export interface DatabaseLogin {
  /** A `postgres://` URL; its user decides what row-level security shows. */
  readonly url: Redacted;
  /** For errors: the variable it came from. */
  readonly name: string;
  /** The role it must be, so that swapped URLs are found at start. */
  readonly role: LoginRole | readonly LoginRole[];
  readonly poolSize?: number;
}

const INT8_OID = 20;

/** `bigint` columns (byte counts, sequence numbers) come as numbers; one beyond 2^53 is refused rather than rounded. */
const columnTypes = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    if (oid === INT8_OID) return parseInt8;
    return format === 'binary' ? types.getTypeParser(oid, 'binary') : types.getTypeParser(oid, 'text');
  },
};

function parseInt8(text: string): number {
  const value = Number(text);
  assert(Number.isSafeInteger(value), 'a bigint column holds a safe integer');
  return value;
}

/**
 * A pool of connections that begin READ COMMITTED, speak UTC and give up on a lock after ten seconds. A process that hangs in the midst
 * of a transaction loses it, and its locks, before those who wait for them give up: a failover does not depend on a receiver's health.
 */
export function newDataSource(url: Redacted, options: { poolSize?: number; settings?: Readonly<Record<string, string>> } = {}): DataSource {
  const settings = {
    default_transaction_isolation: 'read\\ committed',
    timezone: 'UTC',
    lock_timeout: '10s',
    idle_in_transaction_session_timeout: '5s',
    ...options.settings,
  };
  return new DataSource({
    type: 'postgres',
    url: url.reveal(),
    poolSize: options.poolSize ?? 10,
    connectTimeoutMS: 5_000,
    installExtensions: false,
    poolErrorHandler: () => undefined,
    extra: {
      types: columnTypes,
      options: Object.entries(settings)
        .map(([name, value]) => `-c ${name}=${value}`)
        .join(' '),
    },
  });
}

/**
 * Connects and makes sure of the login. Refuses (`database.unsafe-login`) a superuser, a role that bypasses row-level
 * security or owns tables, and any role but the expected one: with such a login the policies would not hold.
 */
export async function openDatabase(login: DatabaseLogin): Promise<DataSource> {
  const dataSource = newDataSource(login.url, login.poolSize === undefined ? {} : { poolSize: login.poolSize });
  try {
    await dataSource.initialize();
  } catch (error) {
    throw startUpError(error, login.name);
  }
  try {
    await refuseUnsafeLogin(dataSource, login);
    return dataSource;
  } catch (error) {
    await dataSource.destroy();
    throw error;
  }
}

async function refuseUnsafeLogin(dataSource: DataSource, login: DatabaseLogin): Promise<void> {
  const [found] = await dataSource.query<{ name: string; is_super: boolean; bypasses: boolean; owns: boolean }[]>(
    `select rolname as name, rolsuper as is_super, rolbypassrls as bypasses,
            exists (select from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace
                                           and pg_has_role(current_user, relowner, 'member')) as owns
       from pg_roles where rolname = current_user`,
  );
  assert(found !== undefined, 'every session has a role');
  const unsafe = found.is_super
    ? 'is a superuser'
    : found.bypasses
      ? 'bypasses row-level security'
      : found.owns
        ? 'owns tables'
        : undefined;
  const roles: readonly string[] = [login.role].flat();
  if (unsafe !== undefined) throw unsafeLogin(`${login.name}: the role ${found.name} ${unsafe}; give the login ${roles.join(' or ')}`);
  if (!roles.includes(found.name)) throw unsafeLogin(`${login.name}: the role is ${found.name}; give the login ${roles.join(' or ')}`);
}

function unsafeLogin(message: string): CodedError {
  return new CodedError('database.unsafe-login', 'forbidden', message);
}
