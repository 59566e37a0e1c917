/** The only source of time for engines and domains, so that a simulation can own it. */
export abstract class Clock {
  /** Wall time, for records people and other machines read. It may jump: never measure with it. */
  abstract now(): Date;
  /** Milliseconds from an arbitrary start; never goes back. For time-outs and durations. */
  abstract monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  abstract sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export class SystemClock extends Clock {
  now(): Date {
    return new Date();
  }

  monotonicMs(): number {
    return performance.now();
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const abort = (): void => {
        clearTimeout(timer);
        reject(signal!.reason as Error);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', abort);
        resolve();
      }, ms);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }
}
