import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { comparePositions } from './segment-summary.js';
import { RecordOrder } from './record-order.js';

interface Placed {
  readonly disk: number;
  readonly block: number;
  readonly count: number;
  readonly cycle: bigint;
}

const takesAll = (records: readonly Placed[]): boolean => {
  const order = new RecordOrder();
  return records.every((record) => order.take(record));
};

const record = fc.record({
  disk: fc.nat({ max: 1 }),
  block: fc.nat({ max: 6 }),
  count: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 5 })),
  cycle: fc.integer({ min: 1, max: 3 }).map(BigInt),
});

const overlaps = (a: Placed, b: Placed): boolean =>
  a.cycle === b.cycle && a.disk === b.disk && a.block < b.block + b.count && b.block < a.block + a.count;

describe('the order of records', () => {
  it('is by place, then from the newest cycle; records of one cycle never overlap', () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 7 }), (records) => {
        const isOrdered = records.every(
          (each, index) =>
            index === 0 ||
            comparePositions(records[index - 1]!, each) < 0 ||
            (comparePositions(records[index - 1]!, each) === 0 && records[index - 1]!.cycle > each.cycle),
        );
        const isDisjoint = records.every((each, index) => records.slice(0, index).every((other) => !overlaps(each, other)));
        expect(takesAll(records)).toBe(isOrdered && isDisjoint);
      }),
      { numRuns: 20_000 },
    );
  });

  it('tells the last block that any record covers', () => {
    const order = new RecordOrder();
    order.take({ disk: 0, block: 3, count: 90, cycle: 2n });
    order.take({ disk: 0, block: 5, count: 1, cycle: 1n });
    expect(order.end).toEqual({ disk: 0, block: 92 });
    order.take({ disk: 1, block: 0, count: 1, cycle: 1n });
    expect(order.end).toEqual({ disk: 1, block: 0 });
  });
});
