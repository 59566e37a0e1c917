import { CodedError, type Logger, SECOND_MS } from '#libs/kernel';

/** Says whether this process can do its work now. List a class among the providers and `/health/ready` asks it. */
export abstract class ReadinessCheck {
  abstract readonly name: string;
  /** Throws when not. One that does not answer in time has failed as well. */
  abstract check(): Promise<void>;
}

export interface Readiness {
  readonly status: 'ready' | 'not-ready';
  /** The names of the checks that failed. */
  readonly failing?: readonly string[];
}

const CHECK_TIMEOUT_MS = 5 * SECOND_MS;

/** Asks all checks at once. */
export async function readinessOf(checks: readonly ReadinessCheck[], logger: Logger): Promise<Readiness> {
  const results = await Promise.allSettled(checks.map((check) => inTime(check.check())));
  const failing = checks.filter((_, index) => results[index]!.status === 'rejected').map(({ name }) => name);
  if (failing.length === 0) return { status: 'ready' };
  logger.warn({ failing }, 'not ready');
  return { status: 'not-ready', failing };
}

/** A check that hangs tells the same as one that throws; it goes on unheard. */
async function inTime(checking: Promise<void>): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new CodedError('readiness.timeout', 'unavailable', 'the check did not end in time')),
    CHECK_TIMEOUT_MS,
  );
  await Promise.race([checking, late.promise]).finally(() => clearTimeout(timer));
}
