import { CommandResultHandler, type CommandRow } from '#libs/agents';
import { fromBits } from '#libs/chain';
import { type CommandPayload, type CommandResult, verifyResult } from '#libs/contracts/commands';
import { CodedError } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { endRepair, findRepair, moveRepair, retryRepair } from '../tables/repairs.js';

/** At a receiver: which records a key holder could not open as what they must be. */
export class TakeVerification extends CommandResultHandler {
  readonly kinds = ['chain.verify'] as const;

  override async handle(tx: Tx, command: CommandRow, { outcome, code, message, data }: CommandResult): Promise<void> {
    const { repairId, round, segments } = command.payload as CommandPayload<'chain.verify'>;
    const row = await findRepair(tx, repairId, { lock: true });
    // An answer to an older question, or to a repair that is over.
    if (row === undefined || row.round !== round || (row.state !== 'Examining' && row.state !== 'Verifying')) return;
    if (outcome === 'failed') {
      await retryRepair(tx, row, { code: code ?? 'repair.unverified', message: message ?? 'the records could not be opened' });
      return;
    }
    const wrong = wrongOf(data, segments);
    if (row.state === 'Examining') await moveRepair(tx, row, { state: 'Examined', wrong: wrong[0]! });
    else if (wrong.every((indexes) => indexes.length === 0)) await moveRepair(tx, row, { state: 'Verified' });
    else
      await endRepair(tx, row.id, {
        code: 'repair.content-differs',
        message: 'what was offered is not what the damaged records held; nothing was changed',
      });
  }
}

function wrongOf(data: unknown, segments: CommandPayload<'chain.verify'>['segments']): number[][] {
  const found = verifyResult.safeParse(data);
  if (!found.success || found.data.wrong.length !== segments.length) throw malformed(found.error);
  return segments.map(({ recordCount }, at) => {
    const indexes = fromBits(Buffer.from(found.data.wrong[at]!, 'base64'), recordCount);
    if (indexes === null) throw malformed();
    return indexes;
  });
}

function malformed(cause?: unknown): CodedError {
  return new CodedError('repair.result-malformed', 'invalid', 'the result does not speak of the segments that were asked about', {}, cause);
}
