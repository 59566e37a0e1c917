import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { replicationPolicy } from '#libs/contracts/wire';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '#libs/kernel';
import { count } from '../../../../test/support/counts.js';
import { idsOf, kept, lastOf, NOON, plan, point, series } from './retention.fixture.js';
import { planRetention, type PointHold, type RetentionPoint, type RetentionRules } from './retention.js';

/* What holds of every history under every policy. */

const RUNS = { numRuns: count(150, 5_000) };

const POLICY = fc
  .record({
    recoveryHistoryHours: fc.integer({ min: 0, max: 24 }),
    tiers: fc.uniqueArray(fc.record({ everyMinutes: fc.constantFrom(5, 30, 60, 1_440, 10_080), slots: fc.integer({ min: 1, max: 6 }) }), {
      selector: ({ everyMinutes }) => everyMinutes,
      maxLength: 3,
    }),
    minimumAgeMinutes: fc.constantFrom(0, 10, 90),
    applicationConsistentEveryHours: fc.constantFrom(null, 1, 3),
    immutableHours: fc.constantFrom(0, 0, 5),
  })
  .map(({ recoveryHistoryHours, tiers, ...rest }) =>
    replicationPolicy.parse({
      recoveryHistoryHours,
      retention: {
        ...rest,
        applicationConsistentEveryHours: recoveryHistoryHours === 0 ? null : rest.applicationConsistentEveryHours,
        tiers: tiers.map(({ everyMinutes, slots }) => ({ everyMinutes, forMinutes: everyMinutes * slots })),
      },
    }),
  );

interface Step {
  readonly afterMinutes: number;
  readonly isPinned: boolean;
  readonly consistency: RetentionPoint['consistency'];
  readonly holds: PointHold[];
  readonly branchId: string;
}

const STEP: fc.Arbitrary<Step> = fc.record({
  afterMinutes: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(1, 5, 15, 60) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 3_000 }) },
  ),
  isPinned: fc.integer({ min: 0, max: 19 }).map((drawn) => drawn === 0),
  consistency: fc.constantFrom('crash' as const, 'application' as const),
  holds: fc.integer({ min: 0, max: 29 }).map((drawn) => (drawn === 0 ? ['export' as const] : [])),
  branchId: fc.integer({ min: 0, max: 9 }).map((drawn) => (drawn === 0 ? 'replica' : 'main')),
});
const HISTORY = fc.array(STEP, { minLength: 1, maxLength: 120 }).map((steps) => {
  let at = NOON;
  return steps.map(({ afterMinutes, ...changes }) => point((at += afterMinutes * MINUTE_MS), changes));
});
/** The provider's clock is off by a day for some of the points. */
const JUMPY = fc
  .tuple(HISTORY, fc.array(fc.tuple(fc.nat(119), fc.nat(119), fc.constantFrom(-DAY_MS, DAY_MS)), { maxLength: 3 }))
  .map(([points, jumps]) =>
    points.map((each, index) => {
      const off = jumps.filter(([from, length]) => index >= from && index < from + length).reduce((sum, [, , jump]) => sum + jump, 0);
      return { ...each, committedAt: new Date(each.committedAt.getTime() + off) };
    }),
  );
const apply = (points: readonly RetentionPoint[], policy: RetentionRules, nowMs: number): RetentionPoint[] => {
  const planned = planRetention(points, policy, new Date(nowMs));
  return planned.filter(({ isKept }) => isKept).map(({ point: each }) => each);
};

describe('always', () => {
  it('keeps the newest point of each branch, pins and whatever is in use, promised or young, and says why', () => {
    fc.assert(
      fc.property(JUMPY, POLICY, fc.integer({ min: -DAY_MS, max: 40 * DAY_MS }), (points, policy, sinceMs) => {
        const now = lastOf(points) + sinceMs;
        const planned = planRetention(points, policy, new Date(now));
        expect(planned.map(({ point: { id } }) => id)).toEqual(idsOf(points));
        const staying = new Set(kept(planned));
        for (const each of points) {
          const ageMs = now - each.committedAt.getTime();
          const isNewest = points.findLast(({ branchId }) => branchId === each.branchId) === each;
          const isYoung = ageMs < policy.retention.minimumAgeMinutes * MINUTE_MS || ageMs < policy.retention.immutableHours * HOUR_MS;
          if (isNewest || each.isPinned || each.holds.length > 0 || isYoung) expect(staying).toContain(each.id);
        }
        for (const { isKept, reasons, drop } of planned) expect([reasons.length > 0, drop === null]).toEqual([isKept, isKept]);
      }),
      RUNS,
    );
  });

  it('removes nothing more when it plans again what it left, also after a clock jumped', () => {
    fc.assert(
      fc.property(JUMPY, POLICY, fc.integer({ min: -DAY_MS, max: 40 * DAY_MS }), (points, policy, sinceMs) => {
        const now = lastOf(points) + sinceMs;
        const left = apply(points, policy, now);
        expect(idsOf(apply(left, policy, now))).toEqual(idsOf(left));
      }),
      RUNS,
    );
  });

  it('comes to the same however often it ran on the way', () => {
    fc.assert(
      fc.property(HISTORY, POLICY, fc.integer({ min: 1, max: 10 }), (points, policy, every) => {
        let left: RetentionPoint[] = [];
        points.forEach((each, index) => {
          left.push(each);
          if (index % every === 0) left = apply(left, policy, each.committedAt.getTime());
        });
        const now = lastOf(points) + 40 * DAY_MS;
        expect(idsOf(apply(left, policy, now))).toEqual(idsOf(apply(points, policy, now)));
      }),
      RUNS,
    );
  });

  it('is monotone in time: what is not kept at one moment is not kept at any later one', () => {
    fc.assert(
      fc.property(HISTORY, POLICY, fc.nat(10 * DAY_MS), fc.nat(40 * DAY_MS), (points, policy, soonMs, laterMs) => {
        const soon = new Set(idsOf(apply(points, policy, lastOf(points) + soonMs)));
        for (const id of idsOf(apply(points, policy, lastOf(points) + soonMs + laterMs))) expect(soon).toContain(id);
      }),
      RUNS,
    );
  });
});

describe('a flood of points', () => {
  it('pushes out nothing that would have been kept without it', () => {
    fc.assert(
      fc.property(HISTORY, POLICY, fc.integer({ min: 1, max: 300 }), fc.nat(119), (points, policy, floodSize, at) => {
        // Between two good points, as fast as it goes; the slots it can fill are those of that time, which the good ones hold or never had.
        const start = points[Math.min(at, points.length - 1)]!;
        const flood = Array.from({ length: floodSize }, (_, index) => ({
          ...point(start.committedAt.getTime() + index),
          // After the good one in the order of commits: a fraction of its cycle's number is written as a larger number for all.
          cycle: start.cycle * 1_000n + 1n + BigInt(index),
          branchId: start.branchId,
          consistency: start.consistency,
        }));
        const good = points.map((each) => ({ ...each, cycle: each.cycle * 1_000n }));
        const now = lastOf(points) + 20 * DAY_MS;
        const flooded = new Set(idsOf(apply([...good, ...flood], policy, now)));
        const reasons = new Map(planRetention(good, policy, new Date(now)).map(({ point: { id }, reasons: all }) => [id, all]));
        // A point that is kept only because no newer one came is kept no longer once a newer one came, whoever made it.
        const owed = good.filter(({ id }) => reasons.get(id)!.some(({ code }) => code !== 'newest'));
        for (const { id } of owed) expect(flooded).toContain(id);
        const extra = flood.filter(({ id }) => flooded.has(id)).length;
        expect(extra).toBeLessThanOrEqual(2 * (policy.retention.tiers.length + 2) + 1);
      }),
      RUNS,
    );
  });

  it('of a week fills no more slots than the week has', () => {
    const good = series(NOON, HOUR_MS, 24 * 7);
    const flood = series(NOON + 7 * DAY_MS, 10_000, 6 * 60 * 24);
    const wish = { recoveryHistoryHours: 24, retention: { tiers: [{ everyMinutes: 1_440, forMinutes: 14 * 1_440 }] } };
    const left = new Set(kept(plan([...good, ...flood], wish, NOON + 8 * DAY_MS)));
    // A whole day of it costs the hours of that day; each day before it is still there.
    expect(good.filter(({ id }) => left.has(id)).length).toBe(8);
    expect(flood.filter(({ id }) => left.has(id)).length).toBe(24 + 1);
  });
});
