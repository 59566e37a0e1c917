import { describe, expect, it } from 'vitest';
import { KIB } from '#libs/kernel';
import { collect } from '../../../../test/support/primary/collect.js';
import type { Piece } from './block-plan.js';
import { cutBatches, maskRuns } from './read-batches.js';
import { cutStripes, type DurableInterval } from './stripes.js';

const data = (block: number, disk = 0): Piece => ({ kind: 'data', disk, block, mask: 0xffff });
const zeros = (block: number, count: number, disk = 0): Piece => ({ kind: 'zero', disk, block, count });
const interval = (first: number, last: number, disk = 0): DurableInterval => ({
  first: { disk, block: first },
  last: { disk, block: last },
});

async function cut(pieces: Piece[], durable: DurableInterval[] = [], stripeBytes = 1024 * KIB): Promise<Piece[][]> {
  const plan = (async function* () {
    yield* pieces;
  })();
  const stripes = await collect(cutStripes(plan, durable, stripeBytes));
  return stripes.map((stripe) => [...stripe.pieces]);
}

describe('cutStripes', () => {
  it('cuts by bytes to read; zeros cost nothing', async () => {
    expect(await cut([data(0), data(1), zeros(2, 1000), data(1002), data(1003)], [], 128 * KIB)).toEqual([
      [data(0), data(1)],
      [zeros(2, 1000), data(1002), data(1003)],
    ]);
  });

  it('leaves out what is durable, and never spans it', async () => {
    expect(await cut([data(0), data(3), data(4), data(9), data(12)], [interval(3, 9)])).toEqual([[data(0)], [data(12)]]);
  });

  it('does not span a durable interval that holds none of its pieces either', async () => {
    expect(await cut([data(0), data(9)], [interval(3, 5)])).toEqual([[data(0)], [data(9)]]);
  });

  it('cuts a run of zeros at what is durable', async () => {
    expect(await cut([zeros(0, 100)], [interval(10, 19), interval(90, 99)])).toEqual([[zeros(0, 10)], [zeros(20, 70)]]);
  });

  it('follows an interval over disks', async () => {
    const durable = [{ first: { disk: 0, block: 5 }, last: { disk: 1, block: 7 } }];
    expect(await cut([data(4), data(6), data(7, 1), data(8, 1)], durable)).toEqual([[data(4)], [data(8, 1)]]);
  });
});

describe('batches', () => {
  it('hold at most 2 MiB to read, and there is always a last one', () => {
    const pieces = Array.from({ length: 66 }, (_, block) => data(block));
    expect([...cutBatches(pieces)].map((batch) => batch.length)).toEqual([32, 32, 2]);
    expect([...cutBatches([zeros(0, 5)])]).toEqual([[zeros(0, 5)]]);
  });

  it('read neighbouring grains in one go', () => {
    expect(maskRuns(0b1000_0000_0110_0001)).toEqual([
      { first: 0, count: 1 },
      { first: 5, count: 2 },
      { first: 15, count: 1 },
    ]);
    expect(maskRuns(0xffff)).toEqual([{ first: 0, count: 16 }]);
  });
});
