import { newestCommandOf, type Remnants, TenantRemnants } from '#libs/agents';
import { Broker } from '#libs/cluster';
import type { FailoverId, TenantId } from '#libs/kernel';
import { UnitOfWork } from '#libs/platform';
import { endFailover, forgetEvidence, listStandingFailovers } from '../tables/failovers.js';

/**
 * Of a tenant that is taken away: what its guests showed on their consoles and screens; and its failed-over VMs, which their replica nodes were told
 * to stop. One that has not said so is kept and asked about again.
 */
export class FailoverRemnants extends TenantRemnants {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly broker: Broker,
  ) {
    super();
  }

  async remove(tenantId: TenantId): Promise<Remnants> {
    const { shown, standing } = await this.unitOfWork.run(tenantId, async (tx) => ({
      shown: await forgetEvidence(tx),
      standing: await listStandingFailovers(tx),
    }));
    let ended = 0;
    for (const { id, isPlaced } of standing) {
      if (isPlaced && !(await this.isStopped(tenantId, id))) continue;
      await this.broker.release(id);
      await this.unitOfWork.run(tenantId, (tx) => endFailover(tx, id));
      ended += 1;
    }
    return { removed: shown + ended, kept: standing.length - ended };
  }

  private async isStopped(tenantId: TenantId, id: FailoverId): Promise<boolean> {
    if (await this.broker.hasLostOwner(id)) return true;
    const stop = await this.unitOfWork.run(tenantId, (tx) => newestCommandOf(tx, id, 'replica.stop'));
    // Without one nothing was ever sent to start it.
    return stop === undefined || stop.outcome === 'succeeded';
  }
}
