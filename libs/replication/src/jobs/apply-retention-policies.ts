import { asId, HOUR_MS, messageOf, MINUTE_MS, SECOND_MS, type TenantId } from '#libs/kernel';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext } from '#libs/platform';
import { listDueForRetention, type RetentionIntervals } from '../tables/points.js';
import { isHolding } from '../tables/installation.js';
import { ApplyRetention } from '../use-cases/apply-retention.js';

/** How many chains one round takes on. */
const ROUND_CHAINS = 200;

/** Applies each relationship's policy: soon after points came or the policy changed, and now and then where nothing happens. */
export class ApplyRetentionPolicies extends Reconciler {
  readonly name = 'replication.apply-retention';
  readonly intervalMs = 30 * SECOND_MS;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly applyRetention: ApplyRetention,
    private readonly intervals: RetentionIntervals = { busyMs: 5 * MINUTE_MS, idleMs: HOUR_MS },
  ) {
    super();
  }

  async run({ logger, signal }: ReconcilerContext): Promise<boolean> {
    if (!(await this.platform.run(isHolding))) return false;
    const due = await this.platform.run((tx) => listDueForRetention(tx, this.intervals, ROUND_CHAINS));
    let applied = 0;
    for (const { id, tenant_id: tenantId } of due) {
      if (signal.aborted) return false;
      try {
        const removed = await this.applyRetention.execute(asId<TenantId>(tenantId), id);
        applied += 1;
        if (removed.length > 0)
          logger.info({ tenantId, relationshipId: id, removedPoints: removed.length }, 'retention removed recovery points');
      } catch (error) {
        // One chain that cannot be looked at keeps no other from it; it is due again at the next round.
        logger.warn({ tenantId, relationshipId: id, error: messageOf(error) }, 'retention could not be applied');
      }
    }
    return due.length === ROUND_CHAINS && applied > 0;
  }
}
