import { describe, expect, it } from 'vitest';
import { RefusalTally } from './refusal-tally.js';

const LIMITS = { burst: 3, refillMs: 1_000, accountsMax: 2 };
const counted = (account: string, code: string, seconds: number) => ({
  account,
  attempts: 1,
  codes: [code],
  since: new Date(seconds * 1_000),
  last: `${code} at ${seconds}`,
});

describe('a tally of refusals', () => {
  const spendAll = (tally: RefusalTally<string>, name: string, nowMs: number): number => {
    let spent = 0;
    while (tally.spend(name, nowMs)) spent += 1;
    return spent;
  };

  it('tells a burst one by one, then one more after each refill, and a whole burst after a rest', () => {
    const tally = new RefusalTally<string>(LIMITS);
    const told = [0, 999, 1_000, 1_500, 2_000, 60_000].map((nowMs) => spendAll(tally, 'a', nowMs));
    expect(told).toEqual([3, 0, 1, 0, 1, 3]);
    expect(spendAll(tally, 'b', 60_000)).toBe(3);
  });

  it('adds up the others, once', () => {
    const tally = new RefusalTally<string>(LIMITS);
    for (const [code, seconds] of [
      ['x', 5],
      ['y', 6],
      ['x', 7],
    ] as const)
      tally.count(counted('a', code, seconds), seconds);
    const taken = tally.takeCounted();
    expect(taken).toEqual([{ account: 'a', attempts: 3, codes: ['x', 'y'], since: new Date(5_000), last: 'x at 7' }]);
    expect(tally.takeCounted()).toEqual([]);

    tally.count(counted('a', 'z', 8), 8);
    tally.count(taken[0]!, 9);
    expect(tally.takeCounted()).toEqual([expect.objectContaining({ attempts: 4, codes: ['z', 'x', 'y'], since: new Date(5_000) })]);
  });

  it('remembers so many accounts, those refused last', () => {
    const tally = new RefusalTally<string>(LIMITS);
    for (const account of ['a', 'b', 'a', 'c']) tally.count(counted(account, 'x', 0), 0);
    expect(tally.takeCounted().map(({ account, attempts }) => [account, attempts])).toEqual([
      ['a', 2],
      ['c', 1],
    ]);
  });
});
