import { messageOf, PlatformError, type Clock, type Logger } from '#libs/kernel';

export interface PeriodicTaskOptions {
  readonly name: string;
  readonly intervalMs: number;
  readonly work: () => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ends the task. */
  readonly signal: AbortSignal;
}

/** Does its work now, again after each interval, and when told; never twice at the same time. A failure is logged and waits for the next turn. */
export class PeriodicTask {
  readonly ended: Promise<void>;
  #wake = new AbortController();
  #isSoon = false;
  #turn: Promise<void> = Promise.resolve();

  constructor(private readonly options: PeriodicTaskOptions) {
    this.ended = this.#loop();
  }

  /** Resolves after a run that began now or later; rejects when it failed. */
  runNow(): Promise<void> {
    const turn = this.#turn.catch(() => {}).then(() => this.options.work());
    this.#turn = turn;
    return turn;
  }

  /** Runs within so many milliseconds, once for all who ask in between. */
  runSoon(withinMs: number): void {
    if (this.#isSoon || this.options.signal.aborted) return;
    this.#isSoon = true;
    this.#rouseIn(withinMs).catch(() => {});
  }

  async #rouseIn(ms: number): Promise<void> {
    await this.options.clock.sleep(ms, this.options.signal);
    this.#isSoon = false;
    this.#wake.abort();
  }

  async #loop(): Promise<void> {
    const { name, intervalMs, clock, logger, signal } = this.options;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      await this.runNow().catch((error: unknown) => {
        // A refusal is the provider's decision: where in this program it was heard of helps nobody.
        const what = error instanceof PlatformError && error.kind === 'forbidden' ? { code: error.code } : { error };
        if (!signal.aborted) logger.warn({ ...what, task: name }, `${name} failed: ${messageOf(error)}`);
      });
      await clock.sleep(intervalMs, AbortSignal.any([signal, this.#wake.signal])).catch(() => {});
    }
    await this.#turn.catch(() => {});
  }
}
