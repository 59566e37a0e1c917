import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Limiter, readAhead } from './read-ahead.js';

/** Counts how many are at work at once. */
class Crowd {
  running = 0;
  runningMax = 0;

  async work<T>(result: T): Promise<T> {
    this.running += 1;
    this.runningMax = Math.max(this.runningMax, this.running);
    await setImmediate();
    this.running -= 1;
    return result;
  }
}

describe('Limiter', () => {
  it('holds its limit, also while new work keeps coming', async () => {
    const crowd = new Crowd();
    const limiter = new Limiter(3);
    const person = async (): Promise<void> => {
      for (let turn = 0; turn < 10; turn += 1) await limiter.run(() => crowd.work(turn));
    };
    await Promise.all(Array.from({ length: 8 }, person));
    expect(crowd.runningMax).toBe(3);
  });

  it('gives the place back when work fails', async () => {
    const limiter = new Limiter(1);
    await expect(limiter.run(() => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    expect(await limiter.run(async () => 'fine')).toBe('fine');
  });
});

describe('readAhead', () => {
  const numbers = [...Array(10).keys()];

  it('yields in order what runs side by side', async () => {
    const crowd = new Crowd();
    const results: number[] = [];
    for await (const result of readAhead(numbers, 3, (item) => crowd.work(item))) results.push(result);
    expect(results).toEqual(numbers);
    expect(crowd.runningMax).toBe(4);
  });

  it('ends with the first error in order, after what was begun has ended', async () => {
    const crowd = new Crowd();
    const results: number[] = [];
    const reading = (async () => {
      const work = async (item: number): Promise<number> => {
        await crowd.work(item);
        if (item >= 4) throw new Error(`item ${item}`);
        return item;
      };
      for await (const result of readAhead(numbers, 3, work)) results.push(result);
    })();
    await expect(reading).rejects.toThrow('item 4');
    expect(results).toEqual([0, 1, 2, 3]);
    expect(crowd.running).toBe(0);
  });
});
