import { QueryRunnerAlreadyReleasedError } from 'typeorm';
import { CodedError } from '#libs/kernel';

/** The fields of a PostgreSQL error that code may look at. */
interface PostgresError {
  readonly code: string;
  readonly constraint?: string;
}

function postgresErrorOf(error: unknown): PostgresError | undefined {
  if (!(error instanceof Error)) return undefined;
  const inner: unknown = (error as { driverError?: unknown }).driverError ?? error;
  return typeof (inner as { code?: unknown }).code === 'string' ? (inner as PostgresError) : undefined;
}

/** True when `error` came from the given unique constraint (or from any, when none is named). */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  const found = postgresErrorOf(error);
  return found?.code === '23505' && (constraint === undefined || found.constraint === constraint);
}

/** True when `error` came from the given foreign key (or from any, when none is named). */
export function isForeignKeyViolation(error: unknown, constraint?: string): boolean {
  const found = postgresErrorOf(error);
  return found?.code === '23503' && (constraint === undefined || found.constraint === constraint);
}

const CONNECTION_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  '25P03',
  '57P01',
  '57P03',
  '53300',
]);
const TRY_AGAIN_CODES = new Set(['40001', '40P01', '55P03']);

/** Turns what will pass (a lost connection, a deadlock) into `database.unavailable`; hands every other error back unchanged. */
export function translateDatabaseError(error: unknown): unknown {
  const code = postgresErrorOf(error)?.code ?? '';
  const isConnection =
    CONNECTION_CODES.has(code) ||
    code.startsWith('08') ||
    // The connection broke between two statements of a transaction.
    error instanceof QueryRunnerAlreadyReleasedError ||
    /connection (terminated|timeout|ended)|timeout exceeded when trying to connect/i.test(String(error));
  if (!isConnection && !TRY_AGAIN_CODES.has(code)) return error;
  return new CodedError('database.unavailable', 'unavailable', 'the database cannot answer at the moment', {}, error);
}

/** One sentence for a person who starts a process: why the database would not have it. */
export function startUpError(error: unknown, what: string): CodedError {
  const code = postgresErrorOf(error)?.code;
  if (code === '28P01' || code === '28000')
    return new CodedError('database.login-refused', 'forbidden', `${what}: the database refuses this login or password`, {}, error);
  if (code === '3D000') return new CodedError('database.missing', 'not-found', `${what}: there is no such database`, {}, error);
  return new CodedError(
    'database.unreachable',
    'unavailable',
    `${what}: the database does not answer (${code ?? 'no connection'})`,
    {},
    error,
  );
}
