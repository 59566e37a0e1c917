import { replicationPolicy } from '#libs/contracts/wire';
import { planRetention, type PlannedPoint, type RetentionPoint, type RetentionRules } from './retention.js';

export const NOON = Date.UTC(2026, 2, 4, 12);

let cycles = 0n;
/** Points are made in the order of commits. */
export function point(committedAtMs: number, changes: Partial<RetentionPoint> = {}): RetentionPoint {
  cycles += 1n;
  return {
    id: `p${cycles}`,
    branchId: 'main',
    cycle: cycles,
    committedAt: new Date(committedAtMs),
    consistency: 'crash',
    immutableUntil: null,
    isPinned: false,
    holds: [],
    ...changes,
  };
}

type RulesWish = { recoveryHistoryHours?: number; retention?: Partial<RetentionRules['retention']> };
export const rules = (wish: RulesWish = {}): RetentionRules =>
  replicationPolicy.parse({ ...wish, retention: { minimumAgeMinutes: 0, ...wish.retention } });
export const plan = (points: readonly RetentionPoint[], wish: RulesWish, nowMs: number) =>
  planRetention(points, rules(wish), new Date(nowMs));
export const kept = (planned: readonly PlannedPoint[]) => planned.filter(({ isKept }) => isKept).map(({ point: { id } }) => id);
export const idsOf = (points: readonly RetentionPoint[]) => points.map(({ id }) => id);

/** One each `everyMs`, the first at `startMs`. */
export const series = (startMs: number, everyMs: number, length: number, changes: Partial<RetentionPoint> = {}): RetentionPoint[] =>
  Array.from({ length }, (_, index) => point(startMs + index * everyMs, changes));

export const lastOf = (points: readonly RetentionPoint[]): number => Math.max(...points.map(({ committedAt }) => committedAt.getTime()));
