import type { Consistency, DropCode, KeepCode } from '#libs/contracts/common';
import type { ReplicationPolicy } from '#libs/contracts/wire';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '#libs/kernel';

/*
 * Which recovery points stay. The rules, and why they are these:
 *
 * - A tier keeps one point of each slot of time, by the provider's clock: whoever floods a chain with points fills the slot of
 *   that moment and no other (RAN-2).
 * - Of a slot the first point stays, first in the order of commits. So a slot is decided once: nothing that comes later can take
 *   the place of a good point, and a clock that jumps back cannot put a new point before an old one.
 * - Slots are of the chain, whatever the branch: a failover in the middle of a day changes nothing about the days.
 * - A tier counts the slots that hold points instead of measuring back from now. A VM that was off for a month comes back to its
 *   history, and a clock that jumps ahead by a day ends nothing.
 * - The newest point of each branch stays, and no point goes before the minimum age, so that the points around an incident are
 *   there when somebody looks.
 * - Pins, promises of immutability and whatever uses a point at this moment stand above all tiers.
 */

/** What holds a point beside the policy: a branch that began there, a failover, an export being made, a leased view. */
export type PointHold = Extract<KeepCode, 'branch' | 'failover' | 'export' | 'lease'>;

export interface RetentionPoint {
  readonly id: string;
  readonly branchId: string;
  /** Place in the order of commits: the number of the point's cycle. Different for all points of a chain. */
  readonly cycle: bigint;
  /** By the provider's clock. */
  readonly committedAt: Date;
  readonly consistency: Consistency;
  /** What was promised when the point was committed, or since. */
  readonly immutableUntil: Date | null;
  readonly isPinned: boolean;
  readonly holds: readonly PointHold[];
}

export interface KeepReason {
  readonly code: KeepCode;
  readonly everyMinutes?: number;
  readonly slotStart?: Date;
  /** Set where the tier takes points of this consistency only. */
  readonly consistency?: Consistency;
  /** When the reason ends by itself. */
  readonly until?: Date;
}

export interface PlannedPoint<P extends RetentionPoint = RetentionPoint> {
  readonly point: P;
  readonly isKept: boolean;
  /** Why it stays: all there is, and nothing for a point that goes. */
  readonly reasons: readonly KeepReason[];
  /** Why it goes; null for a point that stays. */
  readonly drop: DropCode | null;
}

export type RetentionRules = Pick<ReplicationPolicy, 'recoveryHistoryHours' | 'retention'>;

interface Tier {
  readonly everyMs: number;
  readonly slots: number;
  readonly consistency?: Consistency;
}

/** Of the tier's slots that are counted, the point that has each. */
interface Slots {
  readonly tier: Tier;
  readonly ownerOf: ReadonlyMap<number, RetentionPoint>;
}

/**
 * For each point of one chain, in the order of commits, whether it stays and why. Pure; applying the plan and planning again at the
 * same `now` removes nothing more.
 */
export function planRetention<P extends RetentionPoint>(points: readonly P[], rules: RetentionRules, now: Date): PlannedPoint<P>[] {
  const ordered = points.toSorted((a, b) => (a.cycle < b.cycle ? -1 : 1));
  const tiers = tiersOf(rules);
  const drops = new Map<P, DropCode>();
  let left = ordered;
  // A point that goes may leave its slot to one that stays for another reason, where a clock went back between them: until nothing changes.
  for (;;) {
    const verdict = judge(left, tiers, rules, now);
    const staying = left.filter((point) => verdict.reasons.get(point)!.length > 0);
    for (const point of left) if (verdict.reasons.get(point)!.length === 0) drops.set(point, verdict.dropOf(point));
    if (staying.length === left.length) {
      return ordered.map((point) => {
        const drop = drops.get(point) ?? null;
        return { point, isKept: drop === null, reasons: verdict.reasons.get(point) ?? [], drop };
      });
    }
    left = staying;
  }
}

/** Until when nobody may remove a point: the later of what it was promised and what the policy promises now. Null where that is nothing. */
export function immutableUntil(point: Pick<RetentionPoint, 'committedAt' | 'immutableUntil'>, { retention }: RetentionRules): Date | null {
  if (retention.immutableHours === 0) return point.immutableUntil;
  const promised = point.committedAt.getTime() + retention.immutableHours * HOUR_MS;
  return new Date(Math.max(promised, point.immutableUntil?.getTime() ?? promised));
}

function tiersOf({ recoveryHistoryHours: hours, retention }: RetentionRules): Tier[] {
  const everyHours = retention.applicationConsistentEveryHours;
  return [
    ...(hours === 0 ? [] : [{ everyMs: HOUR_MS, slots: hours }]),
    ...(hours === 0 || everyHours === null
      ? []
      : [{ everyMs: everyHours * HOUR_MS, slots: Math.ceil(hours / everyHours), consistency: 'application' as const }]),
    ...retention.tiers.map(({ everyMinutes, forMinutes }) => ({
      everyMs: everyMinutes * MINUTE_MS,
      slots: Math.ceil(forMinutes / everyMinutes),
    })),
  ];
}

interface Verdict<P> {
  readonly reasons: ReadonlyMap<P, readonly KeepReason[]>;
  dropOf(point: P): DropCode;
}

function judge<P extends RetentionPoint>(ordered: readonly P[], tiers: readonly Tier[], rules: RetentionRules, now: Date): Verdict<P> {
  const newestOfBranch = new Map(ordered.map((point) => [point.branchId, point]));
  const filled = tiers.map((tier) => fillSlots(ordered, tier));
  const reasonsOf = (point: P): KeepReason[] => [
    ...(newestOfBranch.get(point.branchId) === point ? [{ code: 'newest' as const }] : []),
    ...(point.isPinned ? [{ code: 'pinned' as const }] : []),
    ...whileLater('immutable', immutableUntil(point, rules), now),
    ...point.holds.map((code) => ({ code })),
    ...filled.flatMap((slots) => slotReason(slots, point)),
    ...whileLater('young', new Date(point.committedAt.getTime() + rules.retention.minimumAgeMinutes * MINUTE_MS), now),
  ];
  return {
    reasons: new Map(ordered.map((point) => [point, reasonsOf(point)])),
    dropOf: (point) => (filled.some(({ tier, ownerOf }) => ownerOf.has(slotOf(tier, point))) ? 'slot-taken' : 'out-of-history'),
  };
}

function whileLater(code: 'immutable' | 'young', until: Date | null, now: Date): KeepReason[] {
  return until !== null && until > now ? [{ code, until }] : [];
}

/** The slots of a tier that count: of those that hold points, the ones whose first point was committed last. */
function fillSlots(ordered: readonly RetentionPoint[], tier: Tier): Slots {
  const firsts = new Map<number, RetentionPoint>();
  for (const point of ordered) {
    if (tier.consistency !== undefined && point.consistency !== tier.consistency) continue;
    const slot = slotOf(tier, point);
    if (!firsts.has(slot)) firsts.set(slot, point);
  }
  return { tier, ownerOf: new Map([...firsts].slice(-tier.slots)) };
}

/** 1970 began on a Thursday; weeks begin on Mondays. */
const FIRST_MONDAY_MS = 4 * DAY_MS;

function slotOf({ everyMs }: Tier, { committedAt }: RetentionPoint): number {
  return Math.floor((committedAt.getTime() - FIRST_MONDAY_MS) / everyMs);
}

function slotReason({ tier, ownerOf }: Slots, point: RetentionPoint): KeepReason[] {
  if (ownerOf.get(slotOf(tier, point)) !== point) return [];
  return [
    {
      code: 'tier',
      everyMinutes: tier.everyMs / MINUTE_MS,
      slotStart: new Date(slotOf(tier, point) * tier.everyMs + FIRST_MONDAY_MS),
      ...(tier.consistency === undefined ? {} : { consistency: tier.consistency }),
    },
  ];
}
