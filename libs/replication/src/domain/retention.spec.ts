import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { replicationPolicy } from '#libs/contracts/wire';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '#libs/kernel';
import { count } from '../../../../test/support/counts.js';
import { planRetention, type PlannedPoint, type PointHold, type RetentionPoint, type RetentionRules } from './retention.js';

const NOON = Date.UTC(2026, 2, 4, 12);
const RUNS = { numRuns: count(150, 5_000) };

let cycles = 0n;
/** Points are made in the order of commits. */
function point(committedAtMs: number, changes: Partial<RetentionPoint> = {}): RetentionPoint {
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
const rules = (wish: RulesWish = {}): RetentionRules =>
  replicationPolicy.parse({ ...wish, retention: { minimumAgeMinutes: 0, ...wish.retention } });
const plan = (points: readonly RetentionPoint[], wish: RulesWish, nowMs: number) => planRetention(points, rules(wish), new Date(nowMs));
const kept = (planned: readonly PlannedPoint[]) => planned.filter(({ isKept }) => isKept).map(({ point: { id } }) => id);
const idsOf = (points: readonly RetentionPoint[]) => points.map(({ id }) => id);

/** One each `everyMs`, the first at `startMs`. */
const series = (startMs: number, everyMs: number, length: number, changes: Partial<RetentionPoint> = {}): RetentionPoint[] =>
  Array.from({ length }, (_, index) => point(startMs + index * everyMs, changes));

describe('the history that Hyper-V keeps', () => {
  it('is the newest point alone without a history', () => {
    const points = series(NOON, 5 * MINUTE_MS, 30);
    expect(kept(plan(points, { recoveryHistoryHours: 0 }, NOON + DAY_MS))).toEqual([points.at(-1)!.id]);
  });

  it('is the newest point, and the first one of each of so many hours', () => {
    const points = series(NOON, 5 * MINUTE_MS, 12 * 30);
    const firsts = points.filter((_, index) => index % 12 === 0).slice(-24);
    const planned = plan(points, { recoveryHistoryHours: 24 }, NOON + 30 * HOUR_MS);
    expect(kept(planned)).toEqual([...idsOf(firsts), points.at(-1)!.id]);
    expect(planned.find(({ point: { id } }) => id === firsts[0]!.id)?.reasons).toEqual([
      { code: 'tier', everyMinutes: 60, slotStart: new Date(NOON + 6 * HOUR_MS) },
    ]);
    expect([planned[0]!.drop, planned[12 * 20 + 1]!.drop]).toEqual(['out-of-history', 'slot-taken']);
  });

  it('has application-consistent points among the hours', () => {
    const points = series(NOON, HOUR_MS / 2, 48).map((each, index) =>
      index % 4 === 3 ? { ...each, consistency: 'application' as const } : each,
    );
    const wish = { recoveryHistoryHours: 24, retention: { applicationConsistentEveryHours: 4 } };
    const planned = plan(points, wish, NOON + 2 * DAY_MS);
    const asked = planned.filter(({ reasons }) => reasons.some(({ consistency }) => consistency === 'application'));
    expect(asked.map(({ point: { committedAt } }) => (committedAt.getTime() - NOON) / HOUR_MS)).toEqual([1.5, 5.5, 9.5, 13.5, 17.5, 21.5]);
    expect(() => replicationPolicy.parse({ recoveryHistoryHours: 0, retention: { applicationConsistentEveryHours: 4 } })).toThrow(
      /history/,
    );
  });
});

describe('tiers', () => {
  it('thin out with age: minutes, hours, days, weeks', () => {
    const points = series(NOON, 10 * MINUTE_MS, 6 * 24 * 40);
    const tiers = [
      { everyMinutes: 10, forMinutes: 120 },
      { everyMinutes: 60, forMinutes: 24 * 60 },
      { everyMinutes: 24 * 60, forMinutes: 7 * 24 * 60 },
      { everyMinutes: 7 * 24 * 60, forMinutes: 28 * 24 * 60 },
    ];
    const planned = plan(points, { recoveryHistoryHours: 0, retention: { tiers } }, NOON + 40 * DAY_MS);
    const countOf = (minutes: number) =>
      planned.filter(({ reasons }) => reasons.some(({ everyMinutes }) => everyMinutes === minutes)).length;
    expect(tiers.map(({ everyMinutes }) => countOf(everyMinutes))).toEqual([12, 24, 7, 4]);
    const weekly = planned.filter(({ reasons }) => reasons.some(({ everyMinutes }) => everyMinutes === 7 * 24 * 60));
    expect(weekly.map(({ point: { committedAt } }) => committedAt.getUTCDay())).toEqual([1, 1, 1, 1]);
  });

  it('lose nothing while nothing is committed', () => {
    const points = series(NOON, HOUR_MS, 24);
    expect(kept(plan(points, {}, NOON + 400 * DAY_MS))).toEqual(idsOf(points));
  });

  it('go on over a failover; the newest point of each side stays', () => {
    const before = series(NOON, 20 * MINUTE_MS, 6);
    const after = series(NOON + HOUR_MS + 45 * MINUTE_MS, 5 * MINUTE_MS, 3, { branchId: 'replica' });
    expect(kept(plan([...before, ...after], {}, NOON + DAY_MS))).toEqual(idsOf([before[0]!, before[3]!, before[5]!, after[2]!]));
  });
});

describe('a policy', () => {
  it.each([
    ['of slots longer than the tier', { everyMinutes: 60, forMinutes: 30 }],
    ['of more slots than a chain keeps', { everyMinutes: 1, forMinutes: 5_001 }],
    ['of no time at all', { everyMinutes: 0, forMinutes: 0 }],
  ])('%s is refused', (_, tier) => expect(replicationPolicy.safeParse({ retention: { tiers: [tier] } }).success).toBe(false));

  it('of two tiers with the same slots is refused', () => {
    const tier = { everyMinutes: 60, forMinutes: 600 };
    expect(replicationPolicy.safeParse({ retention: { tiers: [tier, { ...tier, forMinutes: 60 }] } }).success).toBe(false);
  });

  it("is Hyper-V's unless somebody asks for more, but for an hour in which nothing goes", () => {
    const { recoveryHistoryHours, retention } = replicationPolicy.parse({});
    const nothing = { applicationConsistentEveryHours: null, tiers: [], immutableHours: 0 };
    expect({ recoveryHistoryHours, ...retention }).toEqual({ recoveryHistoryHours: 24, minimumAgeMinutes: 60, ...nothing });
  });
});

describe('above all tiers', () => {
  it('stand pins, promises, what is in use, and the minimum age; all reasons are told', () => {
    const now = NOON + 3 * HOUR_MS;
    const [pinned, promised, longer, used, young, newest] = [
      point(NOON, { isPinned: true }),
      point(NOON + 1, { immutableUntil: new Date(now + 1) }),
      point(NOON + 2, { immutableUntil: new Date(now) }),
      point(NOON + 3, { holds: ['failover', 'export'] }),
      point(now - 10 * MINUTE_MS),
      point(now),
    ];
    const wish = { recoveryHistoryHours: 0, retention: { minimumAgeMinutes: 30 } };
    const planned = plan([pinned, promised, longer, used, young, newest], wish, now);
    expect(planned.map(({ reasons }) => reasons.map(({ code }) => code))).toEqual([
      ['pinned'],
      ['immutable'],
      [],
      ['failover', 'export'],
      ['young'],
      ['newest', 'young'],
    ]);
    const shorter = { recoveryHistoryHours: 0, retention: { immutableHours: 1 } };
    expect(kept(plan([promised, newest], shorter, now))).toEqual(idsOf([promised, newest]));
    expect(kept(plan([longer, newest], { recoveryHistoryHours: 0, retention: { immutableHours: 4 } }, now))).toEqual(
      idsOf([longer, newest]),
    );
  });
});

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
const lastOf = (points: readonly RetentionPoint[]): number => Math.max(...points.map(({ committedAt }) => committedAt.getTime()));
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

describe('a clock that jumps by a day', () => {
  const wish = { recoveryHistoryHours: 24, retention: { tiers: [{ everyMinutes: 1_440, forMinutes: 30 * 1_440 }] } };

  it.each([-DAY_MS, DAY_MS])('by %i ms while it plans removes nothing that the tiers keep', (jumpMs) => {
    const points = series(NOON, HOUR_MS, 24 * 10);
    const now = lastOf(points);
    expect(kept(plan(points, wish, now + jumpMs))).toEqual(kept(plan(points, wish, now)));
  });

  it.each([-DAY_MS, DAY_MS])('by %i ms while points come costs no more than the slots of that time', (jumpMs) => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 12 }), (jumpHours, hoursAfter) => {
        const before = series(NOON, 15 * MINUTE_MS, 4 * 24 * 10);
        const end = lastOf(before) + 15 * MINUTE_MS;
        const during = series(end + jumpMs, 15 * MINUTE_MS, 4 * jumpHours);
        const after = series(end + jumpHours * HOUR_MS, 15 * MINUTE_MS, 4 * hoursAfter);
        const now = end + (jumpHours + hoursAfter) * HOUR_MS;
        const left = new Set(kept(plan([...before, ...during, ...after], wish, now)));
        const owed = kept(plan(before, { ...wish, recoveryHistoryHours: Math.max(0, 24 - jumpHours - hoursAfter - 2) }, now)).slice(0, -1);
        for (const id of owed) expect(left).toContain(id);
      }),
      RUNS,
    );
  });

  it('goes on with the history when it is set right after it ran ahead for long', () => {
    const ahead = series(NOON + 2 * DAY_MS, HOUR_MS, 24);
    const right = series(NOON + DAY_MS, 30 * MINUTE_MS, 24);
    const firsts = right.filter((_, index) => index % 2 === 0);
    const left = kept(plan([...ahead, ...right], { recoveryHistoryHours: 24 }, lastOf(ahead)));
    expect(left).toEqual(idsOf([...ahead.slice(-12), ...firsts, right.at(-1)!]));
  });

  it('and leaves a slot to a later point of it: the plan knows that at once', () => {
    const [early, between, late] = [point(NOON), point(NOON + HOUR_MS), point(NOON, { isPinned: true })];
    const newest = point(NOON + 1);
    expect(kept(plan([early, between, late, newest], { recoveryHistoryHours: 1 }, NOON + DAY_MS))).toEqual(idsOf([late, newest]));
    expect(kept(plan([between, late, newest], { recoveryHistoryHours: 1 }, NOON + DAY_MS))).toEqual(idsOf([late, newest]));
  });
});

it('plans 5,000 points in a moment', () => {
  const points = series(NOON, 5 * MINUTE_MS, 5_000);
  const policy = rules({ retention: { tiers: [{ everyMinutes: 30, forMinutes: 5_000 * 5 }] } });
  const startedAt = performance.now();
  planRetention(points, policy, new Date(lastOf(points)));
  expect(performance.now() - startedAt).toBeLessThan(500);
});
