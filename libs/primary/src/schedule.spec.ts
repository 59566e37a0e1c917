import { describe, expect, it } from 'vitest';
import { MINUTE_MS, SECOND_MS } from '#libs/kernel';
import { schedule, type ScheduleFacts } from './schedule.js';

const facts = (changes: Partial<ScheduleFacts> = {}): ScheduleFacts => ({
  frequencyMs: 5 * MINUTE_MS,
  lastStartedMs: 1000,
  failures: 0,
  lastFailedMs: null,
  isCopying: false,
  ...changes,
});

describe('schedule', () => {
  it('begins at once, then counts from the start of the last cycle, so that a long one is followed by the next without a gap', () => {
    expect(schedule(facts({ lastStartedMs: null }))).toBe(0);
    expect(schedule(facts())).toBe(1000 + 5 * MINUTE_MS);
  });

  it('copies without a pause', () => {
    expect(schedule(facts({ isCopying: true }))).toBe(0);
  });

  it('waits 1, 2, 4, 8, 10, then every 30 minutes after failures', () => {
    const waits = [1, 2, 3, 4, 5, 6, 7].map((failures) => schedule(facts({ failures, lastFailedMs: 0 })) / MINUTE_MS);
    expect(waits).toEqual([1, 2, 4, 8, 10, 30, 30]);
  });

  it('waits a tenth of that at 30 seconds, and no longer at 15 minutes', () => {
    const wait = (seconds: number): number =>
      schedule(facts({ frequencyMs: seconds * SECOND_MS, failures: 1, lastFailedMs: 0 })) / SECOND_MS;
    expect([wait(30), wait(300), wait(900)]).toEqual([6, 60, 60]);
  });

  it('retries on its own time also while copying', () => {
    expect(schedule(facts({ isCopying: true, failures: 1, lastFailedMs: 0 }))).toBe(MINUTE_MS);
  });
});
