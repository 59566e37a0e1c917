import { assert, type Clock, type Logger } from '#libs/kernel';
import type { PlatformUnitOfWork } from '../database/unit-of-work.js';
import { Loop } from './loop.js';
import type { Reconciler } from './reconciler.js';

/**
 * How many run at a time in one process. Each one's lock keeps a connection of the pool while its work needs others: if all began together, and there
 * were as many of them as connections, none would ever go on.
 */
export const RECONCILERS_AT_A_TIME = 6;

/** Runs every reconciler at its interval, each in one worker at a time: the lock is the transaction's, so a killed worker frees it. */
export class Reconcilers {
  readonly #loops: readonly Loop[];
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(
    private readonly unitOfWork: PlatformUnitOfWork,
    reconcilers: readonly Reconciler[],
    clock: Clock,
    logger: Logger,
  ) {
    assert(new Set(reconcilers.map(({ name }) => name)).size === reconcilers.length, 'reconcilers have names of their own');
    this.#loops = reconcilers.map((reconciler) => {
      const { name, intervalMs } = reconciler;
      const bound = logger.child({ reconciler: name });
      return new Loop({ name, intervalMs, clock, logger: bound, work: (signal) => this.#runInTurn(reconciler, { signal, logger: bound }) });
    });
  }

  start(): void {
    for (const loop of this.#loops) loop.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#loops.map((loop) => loop.stop()));
  }

  async #runInTurn(reconciler: Reconciler, context: Parameters<Reconciler['run']>[0]): Promise<boolean | void> {
    // Whoever ends hands its turn to the one that waits longest.
    if (this.#running >= RECONCILERS_AT_A_TIME) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running += 1;
    try {
      return context.signal.aborted ? undefined : await this.#runAlone(reconciler, context);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  /** The transaction holds the lock and nothing else; the reconciler opens its own, short ones. */
  #runAlone(reconciler: Reconciler, context: Parameters<Reconciler['run']>[0]): Promise<boolean | void> {
    return this.unitOfWork.run(async (tx) => {
      const { is_ours: isOurs } = await tx.one<{ is_ours: boolean }>(
        `select pg_try_advisory_xact_lock(hashtextextended('holdfast.reconciler.' || $1, 0)) as is_ours`,
        [reconciler.name],
      );
      return isOurs ? reconciler.run(context) : undefined;
    });
  }
}
