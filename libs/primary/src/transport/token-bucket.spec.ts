import { describe, expect, it } from 'vitest';
import { Clock } from '#libs/kernel';
import { TokenBucket } from './token-bucket.js';

/** Time passes only in sleep. */
class SteppedClock extends Clock {
  nowMs = 0;

  now(): Date {
    return new Date(this.nowMs);
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.nowMs += ms;
  }
}

describe('TokenBucket', () => {
  it('holds a stream to its rate', async () => {
    const clock = new SteppedClock();
    const bucket = new TokenBucket(1000, clock);
    for (let taken = 0; taken < 20; taken += 1) await bucket.take(500);
    expect(clock.nowMs).toBe(10_000);
  });

  it('saves up no more than a quarter of a second', async () => {
    const clock = new SteppedClock();
    const bucket = new TokenBucket(1000, clock);
    clock.nowMs = 60_000;
    await bucket.take(1250);
    expect(clock.nowMs).toBe(61_000);
  });

  it('is no limit without a rate, and takes a new one at once', async () => {
    const clock = new SteppedClock();
    const bucket = new TokenBucket(null, clock);
    await bucket.take(1e12);
    expect(clock.nowMs).toBe(0);
    bucket.bytesPerSecond = 1000;
    await bucket.take(1000);
    expect(clock.nowMs).toBe(1000);
  });

  it('serves in order, and those behind one that gave up', async () => {
    const clock = new SteppedClock();
    const bucket = new TokenBucket(1000, clock);
    const order: number[] = [];
    const one = bucket.take(1000).then(() => order.push(1));
    const two = bucket.take(1000, AbortSignal.abort(new Error('gave up'))).catch(() => order.push(2));
    const three = bucket.take(1000).then(() => order.push(3));
    await Promise.all([one, two, three]);
    expect(order).toEqual([1, 2, 3]);
    expect(clock.nowMs).toBe(2000);
  });
});
