import { CommandResultHandler, type CommandRow } from '#libs/agents';
import { type CommandResult, exportResult } from '#libs/contracts/commands';
import type { Tx } from '#libs/platform';
import { completePointExport, failPointExport } from '../tables/point-exports.js';

/** At a receiver: an export's file is in the store, or why not. */
export class TakeExportResult extends CommandResultHandler {
  readonly kinds = ['point.export'] as const;

  override async handle(tx: Tx, command: CommandRow, result: CommandResult): Promise<void> {
    const { exportId } = command.payload as { readonly exportId: string };
    if (result.outcome === 'succeeded') {
      await completePointExport(tx, exportId, exportResult.parse(result.data));
      return;
    }
    await failPointExport(tx, exportId, { code: result.code ?? 'export.failed', message: result.message ?? 'the export failed' });
  }
}
