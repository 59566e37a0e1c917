import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { replicationPolicy } from '#libs/contracts/wire';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '#libs/kernel';
import { count } from '../../../../test/support/counts.js';
import { idsOf, kept, lastOf, NOON, plan, point, rules, series } from './retention.fixture.js';
import { planRetention } from './retention.js';

const RUNS = { numRuns: count(150, 5_000) };

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
