import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { count } from '../../../../test/support/counts.js';
import { UnitMap } from './unit-map.js';

describe('a map of units', () => {
  it('ranks each as its place among the units added, from either side', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(200)), fc.nat(200), fc.nat(200), (units, a, b) => {
        const ascending = units.toSorted((x, y) => x - y);
        const map = new UnitMap();
        for (const unit of ascending) map.add(unit);
        expect(map.size).toBe(ascending.length);
        for (let unit = 0; unit <= 201; unit += 1) {
          const rank = ascending.indexOf(unit);
          expect(map.rankOf(unit)).toBe(rank < 0 ? null : rank);
        }
        const [from, until] = [Math.min(a, b), Math.max(a, b)];
        const spelt = (runs: Iterable<{ unit: number; rank: number; count: number }>) =>
          [...runs].flatMap(({ unit, rank, count }) => Array.from({ length: count }, (_, index) => [unit + index, rank + index]));
        const all = ascending.map((unit, rank) => [unit, rank] as const);
        expect(spelt(map.runsByUnit(from, until))).toEqual(all.filter(([unit]) => unit >= from && unit < until));
        expect(spelt(map.runsByRank(from, until))).toEqual(all.filter(([, rank]) => rank >= from && rank < until));
      }),
      { numRuns: count(200, 5_000) },
    );
  });

  it('takes runs that touch or repeat what is there as one', () => {
    const map = new UnitMap();
    map.add(3, 4);
    map.add(5, 4);
    map.add(9);
    expect([...map.runsByRank(0, Infinity)]).toEqual([{ unit: 3, rank: 0, count: 7 }]);
    expect(UnitMap.ofExtents([{ offset: 10, length: 30 }], 20).size).toBe(2);
    expect(UnitMap.whole(0).size).toBe(0);
  });
});
