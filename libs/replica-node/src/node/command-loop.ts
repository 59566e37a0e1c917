import type { Command, CommandResult } from '#libs/contracts/commands';
import { backoffMs, retry, SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import { faultOf } from './fault.js';
import type { ReceiverApi } from './receiver-api.js';
import { SubjectQueues } from './subject-queues.js';

export interface CommandLoopOptions {
  readonly receiver: ReceiverApi;
  /** What a command brings about; what it returns becomes the result's data. Runs at least once for each command. */
  readonly execute: (command: Command) => Promise<Readonly<Record<string, unknown>>>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ends the loop; what is being executed is not waited for. */
  readonly signal: AbortSignal;
}

const WAIT_MS = 25 * SECOND_MS;
const RETRY_DELAYS = { firstDelayMs: 300, delayMaxMs: 10 * SECOND_MS };

/** Takes commands until the signal aborts: those of one subject in order, others side by side; each result is told until it is taken. */
export async function runCommandLoop({ receiver, execute, clock, logger, signal }: CommandLoopOptions): Promise<void> {
  const queues = new SubjectQueues();
  let after = 0;
  let failures = 0;
  while (!signal.aborted) {
    try {
      for (const command of await receiver.commands(after, WAIT_MS, signal)) {
        after = Math.max(after, command.seq);
        void queues.run(command.subject ?? command.id, () => finish(command)).catch(() => {});
      }
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      // A receiver that restarts is no news.
      if (failures > 3) logger.warn({ error, failures }, 'commands were not received');
      await clock.sleep(backoffMs(RETRY_DELAYS, Math.min(failures, 10)), signal).catch(() => {});
    }
  }

  /** A command whose result never got through is given again to the next life of this process. */
  async function finish(command: Command): Promise<void> {
    signal.throwIfAborted();
    const log = logger.child({ commandId: command.id, command: command.kind, subject: command.subject });
    const result = await resultOf(command, execute, log);
    const policy = { ...RETRY_DELAYS, attemptsMax: Number.POSITIVE_INFINITY };
    await retry(policy, clock, () => receiver.result(command.id, result, signal), signal).catch((error: unknown) => {
      if (!signal.aborted) log.warn({ error }, "a command's result was refused");
    });
  }
}

async function resultOf(command: Command, execute: CommandLoopOptions['execute'], log: Logger): Promise<CommandResult> {
  try {
    const data = await execute(command);
    log.info({}, 'a command was done');
    return { outcome: 'succeeded', code: null, message: null, data: { ...data } };
  } catch (error) {
    log.warn({ error }, 'a command failed');
    return { outcome: 'failed', ...faultOf(error), data: {} };
  }
}
