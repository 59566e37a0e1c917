import { type Peer, ReportHandler } from '#libs/agents';
import type { Report } from '#libs/contracts/commands';
import { PlatformUnitOfWork } from '#libs/platform';
import { renewOwnerships } from '../tables/ownerships.js';
import { recordReport } from '../tables/replica-nodes.js';

/** At a receiver: what a replica node says of its capacity and of what runs on it. */
export class TakeCapacityReport extends ReportHandler {
  constructor(private readonly unitOfWork: PlatformUnitOfWork) {
    super();
  }

  override async handle(peer: Peer, { capacity }: Report): Promise<void> {
    if (peer.role !== 'replica-node' || capacity === null) return;
    await this.unitOfWork.run(async (tx) => {
      await recordReport(tx, peer.identityId, capacity);
      await renewOwnerships(tx, peer.identityId, capacity.replicas);
    });
  }
}
