import { asId, type TenantId } from '#libs/kernel';
import type { CommandResult } from '#libs/contracts/commands';
import { PlatformUnitOfWork, UnitOfWork } from '#libs/platform';
import { refusals } from '../domain/errors.js';
import type { Peer } from '../domain/peer.js';
import { findCommandTenant, finishCommand, lockCommand, type CommandRecipient } from '../tables/commands.js';
import { PeerNews } from './handlers.js';

/** Takes the result of a command from the peer it was sent to. The first result counts; a repeated one changes nothing. */
export class FinishCommand {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly platform: PlatformUnitOfWork,
    private readonly news: PeerNews,
  ) {}

  /** Throws `command.not-found`, also for the command of anyone else. */
  async execute(peer: Peer, commandId: string, result: CommandResult): Promise<void> {
    const tenantId = await this.tenantOf(peer, commandId);
    const recipient = { role: peer.role, id: peer.identityId } as CommandRecipient;
    await this.unitOfWork.run(tenantId, async (tx) => {
      const command = await lockCommand(tx, commandId, recipient);
      if (command === undefined) throw refusals.commandNotFound();
      if (command.finished_at !== null) return;
      await finishCommand(tx, command.id, result);
      await this.news.tellResult(tx, command, result);
    });
  }

  private async tenantOf(peer: Peer, commandId: string): Promise<TenantId> {
    if (peer.role === 'agent') return peer.tenantId;
    const tenantId = await this.platform.run((tx) => findCommandTenant(tx, commandId, peer.identityId));
    if (tenantId === undefined) throw refusals.commandNotFound();
    return asId<TenantId>(tenantId);
  }
}
