import type { Command, CommandResult } from '#libs/contracts/commands';
import { retry, retryDelayMs, SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import { faultOf } from './fault.js';
import { SubjectQueues } from './subject-queues.js';

/** Where commands come from and results go. Every call may be repeated; errors of kind `unavailable` are worth it. */
export interface CommandSource {
  /** The commands behind `after`, as soon as there are any; none after `waitMs`. */
  commands(after: number, waitMs: number, signal: AbortSignal): Promise<readonly Command[]>;
  result(commandId: string, result: CommandResult, signal: AbortSignal): Promise<void>;
}

export interface CommandLoopOptions {
  readonly source: CommandSource;
  /** What a command brings about; what it returns becomes the result's data. Runs at least once for each command. */
  readonly execute: (command: Command) => Promise<Readonly<Record<string, unknown>>>;
  /** The code of a failure that has none of its own. */
  readonly fallbackCode: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ends the loop; what is being executed is not waited for. */
  readonly signal: AbortSignal;
}

const WAIT_MS = 25 * SECOND_MS;
const RETRY_DELAYS = { firstDelayMs: 300, delayMaxMs: 10 * SECOND_MS };

/** Takes commands until the signal aborts: those of one subject in order, others side by side; each result is told until it is taken. */
export async function runCommandLoop({ source, execute, fallbackCode, clock, logger, signal }: CommandLoopOptions): Promise<void> {
  const queues = new SubjectQueues();
  let after = 0;
  let failures = 0;
  while (!signal.aborted) {
    try {
      for (const command of await source.commands(after, WAIT_MS, signal)) {
        after = Math.max(after, command.seq);
        queues.run(command.subject ?? command.id, () => finish(command)).catch(() => {});
      }
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      // A receiver that restarts is no news.
      if (failures > 3) logger.warn({ error, failures }, 'commands were not received');
      await clock.sleep(retryDelayMs(RETRY_DELAYS, Math.min(failures, 10), error), signal).catch(() => {});
    }
  }

  /** A command whose result never got through is given again to the next life of this process. */
  async function finish(command: Command): Promise<void> {
    signal.throwIfAborted();
    const log = logger.child({ commandId: command.id, command: command.kind, subject: command.subject });
    const result = await resultOf(command, log);
    const policy = { ...RETRY_DELAYS, attemptsMax: Number.POSITIVE_INFINITY };
    await retry(policy, clock, () => source.result(command.id, result, signal), signal).catch((error: unknown) => {
      if (!signal.aborted) log.warn({ error }, "a command's result was refused");
    });
  }

  async function resultOf(command: Command, log: Logger): Promise<CommandResult> {
    try {
      const data = await execute(command);
      log.info({}, 'a command was done');
      return { outcome: 'succeeded', code: null, message: null, data: { ...data } };
    } catch (error) {
      log.warn({ error }, 'a command failed');
      return { outcome: 'failed', ...faultOf(error, fallbackCode), data: {} };
    }
  }
}
