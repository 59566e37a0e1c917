import type { OnModuleInit } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import { assert } from '#libs/kernel';
import type { CommandKind, CommandResult, Report } from '#libs/contracts/commands';
import { discover, type Tx } from '#libs/platform';
import type { Peer } from '../domain/peer.js';
import type { CommandRow } from '../tables/commands.js';

/**
 * Learns the result of a kind of command, in the transaction that records it: both happen or neither. Called once for a
 * command, however often its result arrives. A throw refuses the result, and the recipient sends it again. List the class
 * among the providers of a module of the receiver and it is found at start; a kind has at most one.
 */
export abstract class CommandResultHandler {
  abstract readonly kinds: readonly CommandKind[];
  abstract handle(tx: Tx, command: CommandRow, result: CommandResult): Promise<void>;
}

/**
 * Learns each report of an agent or replica node, before it is answered. Reports repeat: what was learnt already changes
 * nothing. Found at start like a {@link CommandResultHandler}.
 */
export abstract class ReportHandler {
  abstract handle(peer: Peer, report: Report): Promise<void>;
}

/** Passes on what agents and replica nodes say to the features that want to hear it. */
export class PeerNews implements OnModuleInit {
  private readonly byKind = new Map<CommandKind, CommandResultHandler>();
  private reportHandlers: readonly ReportHandler[] = [];

  constructor(private readonly discovery: DiscoveryService) {}

  onModuleInit(): void {
    for (const handler of discover(this.discovery, CommandResultHandler)) {
      for (const kind of handler.kinds) {
        assert(!this.byKind.has(kind), `the results of ${kind} have one handler`);
        this.byKind.set(kind, handler);
      }
    }
    this.reportHandlers = discover(this.discovery, ReportHandler);
  }

  async tellResult(tx: Tx, command: CommandRow, result: CommandResult): Promise<void> {
    await this.byKind.get(command.kind)?.handle(tx, command, result);
  }

  async tellReport(peer: Peer, report: Report): Promise<void> {
    for (const handler of this.reportHandlers) await handler.handle(peer, report);
  }
}
