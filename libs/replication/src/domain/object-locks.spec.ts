import fc from 'fast-check';
import { expect, it } from 'vitest';
import { DAY_MS, HOUR_MS } from '#libs/kernel';
import { count } from '../../../../test/support/counts.js';
import { planLocks } from './object-locks.js';

const NOON = Date.UTC(2026, 2, 4, 12);

it('locks all once, then what is new, until a promise comes up to the lock', () => {
  const at = (hours: number, lockedUntil: Date | null) =>
    planLocks({ promisedUntil: new Date(NOON + hours * HOUR_MS + 7 * DAY_MS), lockedUntil, now: new Date(NOON + hours * HOUR_MS) });
  const first = at(0, null);
  expect(first).toEqual({ until: new Date(NOON + 7 * DAY_MS + 42 * HOUR_MS), scope: 'all' });
  expect(at(42, first.until)).toEqual({ ...first, scope: 'new' });
  expect(at(43, first.until)).toEqual({ until: new Date(NOON + 7 * DAY_MS + 85 * HOUR_MS), scope: 'all' });
});

it('covers every promise, is never shortened, and goes over all objects at most four times a window', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 400 * 24 }), fc.array(fc.integer({ min: 1, max: 600 }), { maxLength: 200 }), (hours, steps) => {
      let now = NOON;
      let lockedUntil: Date | null = null;
      let wholeRuns = 0;
      for (const minutes of steps) {
        now += minutes * 60_000;
        const promisedUntil = new Date(now + hours * HOUR_MS);
        const plan = planLocks({ promisedUntil, lockedUntil, now: new Date(now) });
        expect(plan.until >= promisedUntil).toBe(true);
        expect(lockedUntil === null || plan.until >= lockedUntil).toBe(true);
        if (plan.scope === 'all') wholeRuns += 1;
        lockedUntil = plan.until;
      }
      const generationMs = Math.min(Math.max((hours * HOUR_MS) / 4, 6 * HOUR_MS), 7 * DAY_MS);
      expect(wholeRuns).toBeLessThanOrEqual(1 + Math.ceil((now - NOON) / generationMs));
    }),
    { numRuns: count(100, 2_000) },
  );
});
