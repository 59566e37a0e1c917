/** The person at the other end: what is said to them, and their wish to stop. */
export interface Terminal {
  say(text: string): void;
  /** Aborted by Ctrl-C, SIGTERM or a closed terminal. */
  readonly interrupted: AbortSignal;
  whenInterrupted(): Promise<void>;
}

export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';
}

export function processTerminal(): Terminal {
  const interruption = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => interruption.abort(new InterruptedError(`interrupted by ${signal}`)));
  }
  // A reader that went away (`holdfast … | head`) is no reason to leave children behind.
  process.stdout.on('error', () => undefined);
  const { signal: interrupted } = interruption;
  return {
    say: (text) => process.stdout.write(`${text}\n`),
    interrupted,
    whenInterrupted: () =>
      new Promise((resolve) => {
        // The waiting itself must keep the process alive: nothing else may.
        const alive = setInterval(() => undefined, 60_000);
        const done = (): void => {
          clearInterval(alive);
          resolve();
        };
        if (interrupted.aborted) done();
        else interrupted.addEventListener('abort', done, { once: true });
      }),
  };
}
