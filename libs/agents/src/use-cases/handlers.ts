import { Injectable } from '@nestjs/common';
import { assert } from '#libs/kernel';
import type { CommandKind, CommandResult, Report } from '#libs/contracts/commands';
import type { Tx } from '#libs/platform';
import type { Peer } from '../domain/peer.js';
import type { CommandRow } from '../tables/commands.js';

/**
 * Learns the result of a kind of command, in the transaction that records it: both happen or neither. Called once for a
 * command, however often its result arrives. A throw refuses the result, and the recipient sends it again.
 */
export abstract class CommandResultHandler {
  abstract readonly kinds: readonly CommandKind[];
  abstract handle(tx: Tx, command: CommandRow, result: CommandResult): Promise<void>;
}

/** Learns each report of an agent or replica node, before it is answered. Reports repeat: what was learnt already changes nothing. */
export abstract class ReportHandler {
  abstract handle(peer: Peer, report: Report): Promise<void>;
}

/** Where the later features say what they want to hear. They register when their module starts; at most one for a kind of command. */
@Injectable()
export class PeerNews {
  private readonly byKind = new Map<CommandKind, CommandResultHandler>();
  private readonly reportHandlers: ReportHandler[] = [];

  onResult(handler: CommandResultHandler): void {
    for (const kind of handler.kinds) {
      assert(!this.byKind.has(kind), `the results of ${kind} have one handler`);
      this.byKind.set(kind, handler);
    }
  }

  onReport(handler: ReportHandler): void {
    this.reportHandlers.push(handler);
  }

  async tellResult(tx: Tx, command: CommandRow, result: CommandResult): Promise<void> {
    await this.byKind.get(command.kind)?.handle(tx, command, result);
  }

  async tellReport(peer: Peer, report: Report): Promise<void> {
    for (const handler of this.reportHandlers) await handler.handle(peer, report);
  }
}
