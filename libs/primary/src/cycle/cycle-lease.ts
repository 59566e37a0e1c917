import type { CycleAnswer } from '#libs/contracts/wire';
import { CodedError, MINUTE_MS } from '#libs/kernel';
import type { CycleServices } from './cycle-services.js';

export interface CycleLease {
  /** Aborts with the caller's signal, or when the cycle is ours no more. */
  readonly signal: AbortSignal;
  end(): void;
}

/** Renews the lease until it is ended. A receiver that does not answer is no reason to stop; one that says the cycle is over is. */
export function keepLease({ api, clock, logger }: CycleServices, opened: CycleAnswer, outer: AbortSignal): CycleLease {
  const lost = new AbortController();
  const ended = new AbortController();
  const signal = AbortSignal.any([outer, lost.signal]);
  const until = AbortSignal.any([signal, ended.signal]);
  const everyMs = Math.min(opened.leaseMs / 3, MINUTE_MS);
  const keep = async (): Promise<void> => {
    for (;;) {
      await clock.sleep(everyMs, until);
      await api.renewLease(opened.id, until).catch((error: unknown) => {
        if (until.aborted) return;
        if (error instanceof CodedError && !error.isRetryable) lost.abort(error);
        else logger.warn({ error, cycle: opened.cycle }, 'the lease of a cycle was not renewed');
      });
    }
  };
  keep().catch(() => {});
  return { signal, end: () => ended.abort() };
}
