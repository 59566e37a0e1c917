import { type Peer, ReportHandler } from '#libs/agents';
import type { Report } from '#libs/contracts/commands';
import { asId, type TenantId } from '#libs/kernel';
import { UnitOfWork } from '#libs/platform';
import { recordProgress } from '../tables/point-exports.js';

/** At a receiver: how far a replica node has come with the files that it makes. Nothing hangs on it but what people see. */
export class TakeExportProgress extends ReportHandler {
  constructor(private readonly unitOfWork: UnitOfWork) {
    super();
  }

  override async handle(peer: Peer, { exports }: Report): Promise<void> {
    if (peer.role !== 'replica-node') return;
    for (const { tenantId, exportId, ...progress } of exports) {
      await this.unitOfWork.run(asId<TenantId>(tenantId), (tx) => recordProgress(tx, exportId, peer.identityId, progress));
    }
  }
}
