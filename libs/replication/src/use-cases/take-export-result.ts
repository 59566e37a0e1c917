import { CommandResultHandler, type CommandRow } from '#libs/agents';
import { type CommandPayload, type CommandResult, exportResult } from '#libs/contracts/commands';
import { CodedError } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { completePointExport, failPointExport } from '../tables/point-exports.js';

/** At a receiver: an export's file is in the store, or why not. */
export class TakeExportResult extends CommandResultHandler {
  readonly kinds = ['point.export'] as const;

  override async handle(tx: Tx, command: CommandRow, { outcome, code, message, data }: CommandResult): Promise<void> {
    const { exportId } = command.payload as CommandPayload<'point.export'>;
    if (outcome === 'failed') {
      await failPointExport(tx, exportId, { code: code ?? 'export.failed', message: message ?? 'the export failed' });
      return;
    }
    const file = exportResult.safeParse(data);
    if (!file.success)
      throw new CodedError('export.result-malformed', 'invalid', 'the result does not describe the exported file', {}, file.error);
    await completePointExport(tx, exportId, file.data);
  }
}
