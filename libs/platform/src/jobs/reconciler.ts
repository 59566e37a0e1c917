import type { Logger } from '#libs/kernel';

export interface ReconcilerContext {
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

/**
 * Brings what is observed to what is wanted, from rows alone: it takes no input, reads again, and may run at any time.
 * List the class among a worker module's providers and it is found at start. Each interval one worker of all runs it.
 */
export abstract class Reconciler {
  /** `<feature>.<what>`; unique. */
  abstract readonly name: string;
  abstract readonly intervalMs: number;
  /** Return true when there is more to do at once. */
  abstract run(context: ReconcilerContext): Promise<boolean | void>;
}
