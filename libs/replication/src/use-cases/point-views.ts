import type { PlannedPointView, RecoveryPointView, RetentionPlanView } from '#libs/contracts/http';
import type { PlannedPoint, RetentionPoint } from '../domain/retention.js';
import { cycleOf } from '../tables/manifest-ref.js';
import type { PointManifestRow } from '../tables/manifests.js';
import type { PointRow } from '../tables/points.js';

export function toPointView(row: PointManifestRow, relationshipId: string, isDamaged: (cycleHex: string) => boolean): RecoveryPointView {
  return {
    id: row.id,
    relationshipId,
    branchId: row.branch_id,
    sequence: row.sequence,
    cycle: cycleOf(row.cycle).toString(),
    instant: row.instant.toISOString(),
    committedAt: row.committed_at.toISOString(),
    consistency: row.consistency,
    disks: row.definition.disks.map((disk) => ({ ...disk })),
    sentBytes: row.sent_bytes,
    immutableUntil: row.immutable_until?.toISOString() ?? null,
    pin: row.pinned_at === null ? null : { note: row.pin_note ?? '', pinnedAt: row.pinned_at.toISOString() },
    isDamaged: isDamaged(row.cycle),
  };
}

export type PointOfPlan = RetentionPoint & { readonly row: PointRow };

/** Newest first. */
export function toPlanView(relationshipId: string, plannedAt: Date, plan: readonly PlannedPoint<PointOfPlan>[]): RetentionPlanView {
  const keptCount = plan.filter(({ isKept }) => isKept).length;
  return {
    relationshipId,
    plannedAt: plannedAt.toISOString(),
    keptCount,
    removedCount: plan.length - keptCount,
    points: plan.map(toPlannedView).reverse(),
  };
}

function toPlannedView({ point: { row }, isKept, reasons, drop }: PlannedPoint<PointOfPlan>): PlannedPointView {
  return {
    id: row.id,
    branchId: row.branch_id,
    sequence: row.sequence,
    instant: row.instant.toISOString(),
    committedAt: row.committed_at.toISOString(),
    consistency: row.consistency,
    isKept,
    reasons: reasons.map(({ slotStart, until, ...reason }) => ({
      ...reason,
      ...(slotStart === undefined ? {} : { slotStart: slotStart.toISOString() }),
      ...(until === undefined ? {} : { until: until.toISOString() }),
      ...(reason.code === 'pinned' && row.pin_note !== null ? { note: row.pin_note } : {}),
    })),
    drop,
  };
}
