import { commandPayloads, type Command, type CommandResult } from '#libs/contracts/commands';
import { backoffMs, messageOf, PlatformError, SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import type { ReplicationApi } from './transport/replication-api.js';

/** What commands may do; each only wakes what finds its work by itself, so that a repeated or lost command changes nothing. */
export interface CommandActions {
  reconcile(): Promise<void>;
  runCycle(relationshipId: string): Promise<void>;
  refreshInventory(): Promise<void>;
}

const WAIT_MS = 25 * SECOND_MS;
const RETRY_DELAYS = { firstDelayMs: 500, delayMaxMs: 15 * SECOND_MS };

/** Asks for commands until the signal aborts, in order, and says what became of each. */
export async function runCommandLoop(
  api: ReplicationApi,
  actions: CommandActions,
  clock: Clock,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  let after = 0;
  let failures = 0;
  while (!signal.aborted) {
    try {
      for (const command of await api.commands(after, WAIT_MS, signal)) {
        const result = await execute(command, actions, logger);
        await api.commandResult(command.id, result, signal);
        after = command.seq;
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
}

async function execute(command: Command, actions: CommandActions, logger: Logger): Promise<CommandResult> {
  const log = logger.child({ commandId: command.id, command: command.kind });
  try {
    await dispatch(command, actions);
    log.debug({}, 'a command was done');
    return { outcome: 'succeeded', code: null, message: null, data: {} };
  } catch (error) {
    const code = error instanceof PlatformError ? error.code : 'agent.failed';
    log.warn({ error }, 'a command failed');
    return { outcome: 'failed', code: code.slice(0, 100), message: messageOf(error).slice(0, 1000), data: {} };
  }
}

async function dispatch({ kind, payload }: Command, actions: CommandActions): Promise<void> {
  switch (kind) {
    case 'replication.reconcile':
      return actions.reconcile();
    case 'replication.run-cycle':
      return actions.runCycle(commandPayloads[kind].parse(payload).relationshipId);
    case 'inventory.refresh':
      return actions.refreshInventory();
    default:
      throw new UnknownCommandError(kind);
  }
}

export class UnknownCommandError extends PlatformError {
  readonly code = 'command.unknown';
  readonly kind = 'invalid';

  constructor(command: string) {
    super(`an agent does not know the command ${command}`);
  }
}
