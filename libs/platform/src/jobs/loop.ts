import { type Clock, type Logger, messageOf } from '#libs/kernel';

export interface LoopOptions {
  readonly name: string;
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Return true to be run again at once: there is more. */
  work(signal: AbortSignal): Promise<boolean | void>;
}

/** Runs work every interval and whenever poked, one run at a time. A failed run is logged, and the next one comes as usual. */
export class Loop {
  readonly #options: LoopOptions;
  readonly #stopping = new AbortController();
  #wakeUp: (() => void) | undefined;
  #isPoked = false;
  #finished: Promise<void> | undefined;
  #wasFailing = false;

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  start(): void {
    this.#finished ??= this.#run();
  }

  /** Runs as soon as the present run is over. */
  poke(): void {
    this.#isPoked = true;
    this.#wakeUp?.();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('stopping'));
    this.#wakeUp?.();
    await this.#finished;
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      this.#isPoked = false;
      const hasMore = await this.#runOnce();
      if (!hasMore && !this.#isPoked) await this.#pause();
    }
  }

  async #runOnce(): Promise<boolean> {
    const { name, logger, work } = this.#options;
    try {
      const hasMore = (await work(this.#stopping.signal)) === true;
      if (this.#wasFailing) logger.info({ loop: name }, 'works again');
      this.#wasFailing = false;
      return hasMore;
    } catch (error) {
      if (this.#stopping.signal.aborted) return false;
      // One line when it begins to fail, not one a second while the database is away.
      if (!this.#wasFailing) logger.warn({ loop: name, error }, `failed: ${messageOf(error)}; going on`);
      this.#wasFailing = true;
      return false;
    }
  }

  async #pause(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    const pause = new AbortController();
    this.#wakeUp = () => pause.abort(new Error('woken'));
    await this.#options.clock.sleep(this.#options.intervalMs, pause.signal).catch(() => undefined);
    this.#wakeUp = undefined;
  }
}
