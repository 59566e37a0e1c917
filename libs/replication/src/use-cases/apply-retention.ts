import { replicationPolicy, type ReplicationPolicy } from '#libs/contracts/wire';
import type { RetentionPlanView } from '#libs/contracts/http';
import { asId, type ChainId, type CrashPoints, NoCrashPoints, type RelationshipId, type TenantId } from '#libs/kernel';
import { Outbox, type Tx, UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { type PlannedPoint, planRetention } from '../domain/retention.js';
import type { UpkeepCrashPoint } from '../domain/upkeep-crash-points.js';
import { pointsRemoved } from '../jobs/events.js';
import { getChain } from '../tables/chains.js';
import { deletePoints, listHolds, listPoints, lockPoints, recordApplied, serverNow, toRetentionPoint } from '../tables/points.js';
import { getRelationship, type RelationshipRow } from '../tables/relationships.js';
import { requireHolding } from '../tables/installation.js';
import { type PointOfPlan, toPlanView } from './point-views.js';

/** Points that one transaction removes, the oldest first: it holds up commits no longer than a moment, also after a policy that keeps far less. */
const BATCH_POINTS = 500;

/** What the policy in force, or another one, would keep and remove at this moment. Changes nothing. */
export class PlanRetention {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  execute(tenantId: TenantId, id: RelationshipId, policy?: ReplicationPolicy): Promise<RetentionPlanView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const relationship = await getRelationship(tx, id, { lock: false });
      const now = await serverNow(tx);
      return toPlanView(relationship.id, now, await planOf(tx, relationship, now, policy));
    });
  }
}

/**
 * Removes the points that the policy keeps no longer: their rows, and nothing else; no data moves. A chain of which nothing is to go is only
 * read. Otherwise one transaction locks relationship and chain, so that no commit, failover or maintenance decides meanwhile, plans again,
 * locks the rows that go, and looks once more at what holds them. Safe to run at any time and by several at once.
 */
export class ApplyRetention {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly outbox: Outbox,
    private readonly auditLog: AuditLog,
    private readonly crashPoints: CrashPoints = new NoCrashPoints(),
  ) {}

  /** The ids of what was removed. */
  async execute(tenantId: TenantId, id: RelationshipId): Promise<readonly string[]> {
    const isAnythingToGo = await this.unitOfWork.run(tenantId, async (tx) => {
      const relationship = await getRelationship(tx, id, { lock: false });
      if (victimsOf(await planOf(tx, relationship, await serverNow(tx))).length > 0) return true;
      await recordApplied(tx, relationship.chain_id, 0);
      return false;
    });
    const removed: string[] = [];
    for (let isMore = isAnythingToGo; isMore;) {
      const batch = await this.unitOfWork.run(tenantId, (tx) => this.removeBatch(tx, id));
      removed.push(...batch);
      isMore = batch.length === BATCH_POINTS;
    }
    return removed;
  }

  private async removeBatch(tx: Tx, id: RelationshipId): Promise<readonly string[]> {
    await requireHolding(tx);
    const relationship = await getRelationship(tx, id, { lock: true });
    const { chainId } = await getChain(tx, asId<ChainId>(relationship.chain_id), { lock: true });
    const victims = victimsOf(await planOf(tx, relationship, await serverNow(tx))).slice(0, BATCH_POINTS);
    await lockPoints(tx, victims);
    const holds = await listHolds(tx, chainId);
    const removed = await deletePoints(
      tx,
      victims.filter((victim) => !holds.has(victim)),
    );
    await recordApplied(tx, chainId, removed.length);
    if (removed.length === 0) return removed;
    await this.outbox.add(tx, pointsRemoved, { tenantId: tx.tenantId, chainId }, chainId);
    await this.auditLog.append(tx, {
      actor: { kind: 'system', id: null, name: 'replication.apply-retention' },
      action: 'retention.applied',
      subject: { kind: 'relationship', id },
      details: { removedPoints: removed.length },
    });
    this.crashPoints.reached('points-removed' satisfies UpkeepCrashPoint);
    return removed;
  }
}

async function planOf(
  tx: Tx,
  { chain_id, policy }: RelationshipRow,
  now: Date,
  other?: ReplicationPolicy,
): Promise<PlannedPoint<PointOfPlan>[]> {
  const holds = await listHolds(tx, chain_id);
  const points = (await listPoints(tx, chain_id)).map((row) => toRetentionPoint(row, holds));
  return planRetention(points, other ?? replicationPolicy.parse(policy), now);
}

function victimsOf(plan: readonly PlannedPoint[]): string[] {
  return plan.filter(({ isKept }) => !isKept).map(({ point }) => point.id);
}
