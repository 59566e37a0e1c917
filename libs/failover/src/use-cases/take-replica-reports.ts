import { type Peer, ReportHandler } from '#libs/agents';
import type { Report } from '#libs/contracts/commands';
import { asId, type FailoverId } from '#libs/kernel';
import { PlatformUnitOfWork, Sagas } from '#libs/platform';
import { wakeSagas } from '../jobs/sagas.js';
import { recordReplicaReport } from '../tables/failovers.js';

/** At a receiver: how the replicas of a node are doing. News end the waiting of the saga that asked for them. */
export class TakeReplicaReports extends ReportHandler {
  constructor(
    private readonly unitOfWork: PlatformUnitOfWork,
    private readonly sagas: Sagas,
  ) {
    super();
  }

  override async handle(peer: Peer, { replicas }: Report): Promise<void> {
    if (peer.role !== 'replica-node') return;
    for (const report of replicas) {
      await this.unitOfWork.run(async (tx) => {
        const tenantId = await recordReplicaReport(tx, peer.identityId, report);
        if (tenantId !== undefined) await wakeSagas(tx, this.sagas, asId<FailoverId>(report.failoverId));
      });
    }
  }
}
