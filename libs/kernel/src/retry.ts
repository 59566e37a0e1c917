import type { Clock } from './clock.js';
import { PlatformError } from './platform-error.js';
import { SECOND_MS } from './units.js';

export interface RetryPolicy {
  readonly attemptsMax: number;
  /** The wait before the second attempt; it doubles with each further one, with ±25 % jitter. An error's own `retryAfterSeconds` comes on top. */
  readonly firstDelayMs: number;
  readonly delayMaxMs: number;
  readonly isRetryable?: (error: unknown) => boolean;
  readonly onRetry?: (error: unknown, attempt: number, delayMs: number) => void;
}

/** Runs `work` until it succeeds, fails for good, or the attempts are spent; then throws its last error. `work` must be safe to run twice. */
export async function retry<T>(policy: RetryPolicy, clock: Clock, work: (attempt: number) => Promise<T>, signal?: AbortSignal): Promise<T> {
  const isRetryable = policy.isRetryable ?? ((error: unknown) => error instanceof PlatformError && error.isRetryable);
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      if (attempt >= policy.attemptsMax || !isRetryable(error)) throw error;
      const delayMs = retryDelayMs(policy, attempt, error);
      policy.onRetry?.(error, attempt, delayMs);
      await clock.sleep(delayMs, signal);
    }
  }
}

export function backoffMs(policy: Pick<RetryPolicy, 'firstDelayMs' | 'delayMaxMs'>, attempt: number): number {
  const exact = Math.min(policy.delayMaxMs, policy.firstDelayMs * 2 ** (attempt - 1));
  return Math.round(exact * (0.75 + Math.random() * 0.5));
}

const RETRY_AFTER_SECONDS_MAX = 60;

/** As {@link backoffMs}, on top of the time that the error itself asks for as `retryAfterSeconds` among its details: of many who were sent away not all come back at once. */
export function retryDelayMs(policy: Pick<RetryPolicy, 'firstDelayMs' | 'delayMaxMs'>, attempt: number, error: unknown): number {
  const asked = error instanceof PlatformError ? error.details['retryAfterSeconds'] : undefined;
  const seconds = typeof asked === 'number' && asked > 0 ? Math.min(asked, RETRY_AFTER_SECONDS_MAX) : 0;
  return seconds * SECOND_MS + backoffMs(policy, attempt);
}
