import { CommandResultHandler, type CommandRow } from '#libs/agents';
import { type CommandPayload, type CommandResult, exportResult } from '#libs/contracts/commands';
import { CodedError } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { completePointExport, failPointExport, findPointExport } from '../tables/point-exports.js';

/** At a receiver: an export's file is in the store, in the clear, which the tenant's audit log says; or why not. */
export class TakeExportResult extends CommandResultHandler {
  readonly kinds = ['point.export'] as const;

  constructor(private readonly audit: AuditLog) {
    super();
  }

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
    const row = await findPointExport(tx, exportId);
    if (row === undefined) return;
    const { publication_id: publicationId, recovery_point_id: recoveryPointId, file_name: fileName } = row;
    await this.audit.append(tx, {
      actor: { kind: 'replica-node', id: command.recipient_id, name: command.recipient_id },
      action: publicationId === null ? 'export.written' : 'publication.file-written',
      subject: publicationId === null ? { kind: 'export', id: exportId } : { kind: 'publication', id: publicationId },
      details: { exportId, recoveryPointId, fileName, sizeBytes: file.data.sizeBytes, sha256: file.data.sha256 },
    });
  }
}
