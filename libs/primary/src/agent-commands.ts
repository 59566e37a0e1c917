import { commandPayloads, type Command } from '#libs/contracts/commands';
import { CodedError } from '#libs/kernel';

/** What commands may do; each only wakes what finds its work by itself, so that a repeated or lost command changes nothing. */
export interface CommandActions {
  reconcile(): Promise<void>;
  runCycle(relationshipId: string): Promise<void>;
  refreshInventory(): Promise<void>;
}

/** Throws `command.unknown` for what is no agent's. */
export async function executeCommand({ kind, payload }: Command, actions: CommandActions): Promise<Readonly<Record<string, unknown>>> {
  switch (kind) {
    case 'replication.reconcile':
      await actions.reconcile();
      return {};
    case 'replication.run-cycle':
      await actions.runCycle(commandPayloads[kind].parse(payload).relationshipId);
      return {};
    case 'inventory.refresh':
      await actions.refreshInventory();
      return {};
    default:
      throw new CodedError('command.unknown', 'invalid', `an agent does not know the command ${kind}`);
  }
}
