import { describe, expect, it } from 'vitest';
import { Clock } from './clock.js';
import { CodedError } from './platform-error.js';
import { retry, retryDelayMs } from './retry.js';

/** Sleeps at once, and remembers how long it would have been. */
class RecordingClock extends Clock {
  readonly sleptMs: number[] = [];

  now(): Date {
    return new Date(0);
  }

  monotonicMs(): number {
    return 0;
  }

  async sleep(ms: number): Promise<void> {
    this.sleptMs.push(ms);
  }
}

const POLICY = { attemptsMax: 3, firstDelayMs: 100, delayMaxMs: 1_000 };
const busy = (details: Record<string, unknown> = {}): CodedError => new CodedError('receiver.busy', 'unavailable', 'busy', details);

describe('retry', () => {
  it('waits longer each time, and gives up with the last error', async () => {
    const clock = new RecordingClock();
    let attempts = 0;
    const work = (): Promise<never> => {
      attempts += 1;
      throw busy();
    };
    await expect(retry(POLICY, clock, work)).rejects.toMatchObject({ code: 'receiver.busy' });
    expect(attempts).toBe(3);
    const [first, second] = clock.sleptMs as [number, number];
    expect(first).toBeGreaterThanOrEqual(75);
    expect(first).toBeLessThanOrEqual(125);
    expect(second).toBeGreaterThanOrEqual(150);
    expect(second).toBeLessThanOrEqual(250);
  });

  it('does not come back before the time that the error asks for', async () => {
    const clock = new RecordingClock();
    const answers = [busy({ retryAfterSeconds: 7 }), undefined];
    const work = async (): Promise<string> => {
      const error = answers.shift();
      if (error !== undefined) throw error;
      return 'done';
    };
    expect(await retry(POLICY, clock, work)).toBe('done');
    expect(clock.sleptMs).toHaveLength(1);
    expect(clock.sleptMs[0]).toBeGreaterThanOrEqual(7_075);
    expect(clock.sleptMs[0]).toBeLessThanOrEqual(7_125);
  });

  it.each([-1, Number.NaN, '7', null, undefined])('is not moved by %s in its place, and by no more than a minute', (retryAfterSeconds) => {
    expect(retryDelayMs(POLICY, 1, busy({ retryAfterSeconds }))).toBeLessThanOrEqual(125);
    expect(retryDelayMs(POLICY, 1, busy({ retryAfterSeconds: 1e9 }))).toBeLessThanOrEqual(60_125);
  });
});
