import type { Clock } from '#libs/kernel';
import type { Command } from '#libs/contracts/commands';
import { refOfPeer, type Peer } from '../domain/peer.js';
import { waitingCommands, type CommandRecipient, type CommandRow } from '../tables/commands.js';
import { IdentityTransactions } from '../tables/identity-transactions.js';
import { WakeUps } from './wake-ups.js';

const COMMANDS_MAX = 50;
/** A notification can be lost; nobody waits longer than this without a look. */
const LOOK_AGAIN_MS = 5_000;

/** The commands that wait for a peer, as soon as there are any; none after `waitMs`. What is not finished is given again. */
export class ReceiveCommands {
  constructor(
    private readonly identities: IdentityTransactions,
    private readonly wakeUps: WakeUps,
    private readonly clock: Clock,
  ) {}

  async execute(peer: Peer, after: number, waitMs: number, signal: AbortSignal): Promise<Command[]> {
    const recipient = { role: peer.role, id: peer.identityId } as CommandRecipient;
    const deadlineMs = this.clock.monotonicMs() + waitMs;
    for (;;) {
      const leftMs = deadlineMs - this.clock.monotonicMs();
      const wait = this.wakeUps.wait(peer.identityId, Math.max(0, Math.min(leftMs, LOOK_AGAIN_MS)));
      try {
        const rows = await this.identities.run(refOfPeer(peer), (tx) => waitingCommands(tx, recipient, after, COMMANDS_MAX));
        if (rows.length > 0 || leftMs <= 0 || signal.aborted) return rows.map(toCommand);
        signal.addEventListener('abort', wait.cancel, { once: true });
        await wait.woken;
      } finally {
        signal.removeEventListener('abort', wait.cancel);
        wait.cancel();
      }
    }
  }
}

function toCommand(row: CommandRow): Command {
  const epoch = row.epoch_incarnation === null ? null : { incarnation: row.epoch_incarnation, counter: row.epoch_counter! };
  return {
    id: row.id,
    seq: row.seq,
    kind: row.kind,
    subject: row.subject_id,
    epoch,
    payload: row.payload,
    createdAt: row.created_at.toISOString(),
  };
}
