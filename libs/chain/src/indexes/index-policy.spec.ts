import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MIB, newId, type BranchId } from '#libs/kernel';
import { count } from '../../../../test/support/counts.js';
import { dyadicRanges, missingIndexes, unneededIndexes, type IndexRange, type KeptPath } from './index-policy.js';
import type { IndexRef } from './index-ref.js';
import { planIndexes, type Lineage } from './plan-indexes.js';

const branchId = newId<BranchId>();
const lineageTo = (last: number): Lineage => [{ branchId, last }];

/** As if it had been built: a layer adds so much to an index, until all of the disk is in it. */
function built({ first, last }: IndexRange, layerBytes = 10_000, diskBytes = 20 * MIB): IndexRef {
  const bytes = Math.min((last - first + 1) * layerBytes, diskBytes);
  const sha256 = `${first}-${last}`.padEnd(64, '0');
  return { sha256, sizeBytes: 100, first, last, lastCycle: BigInt(last + 1), branchId, bytes };
}

const range = fc.tuple(fc.nat({ max: 40 }), fc.nat({ max: 40 })).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));

describe('a plan', () => {
  it('covers every position once in need, with as few sources as there can be', () => {
    fc.assert(
      fc.property(fc.array(range, { maxLength: 15 }), range, (ranges, asked) => {
        const available = ranges.map((each) => built(each));
        const { indexes, layers } = planIndexes(available, lineageTo(asked.last), asked.last, asked.first);
        const covered = new Set([
          ...layers,
          ...indexes.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, at) => first + at)),
        ]);
        for (let position = asked.first; position <= asked.last; position += 1) expect(covered.has(position)).toBe(true);
        expect(Math.min(...covered)).toBe(asked.first);
        expect(Math.max(...covered)).toBe(asked.last);
        expect(indexes.length + layers.length).toBe(fewest(available, asked));
      }),
      { numRuns: count(2_000, 100_000) },
    );
  });

  it('takes no index of another branch, and those of the trunk below the fork alone', () => {
    const trunk = newId<BranchId>();
    const lineage: Lineage = [
      { branchId: trunk, last: 4 },
      { branchId, last: 9 },
    ];
    const ofTrunk = (each: IndexRange): IndexRef => ({ ...built(each), branchId: trunk });
    const available = [
      ofTrunk({ first: 0, last: 3 }),
      ofTrunk({ first: 0, last: 7 }),
      built({ first: 5, last: 8 }),
      built({ first: 0, last: 2 }),
    ];
    expect(planIndexes(available, lineage, 9)).toEqual({ indexes: [available[0], available[2]], layers: [4, 9] });
  });
});

describe('the policy', () => {
  const kept = fc.uniqueArray(fc.nat({ max: 3_000 }), { minLength: 1, maxLength: 12 }).map((positions) => positions.sort((a, b) => a - b));

  it('leads from any state to one in which each kept point is read from few indexes and no layer, and rests there', () => {
    fc.assert(
      fc.property(fc.array(range, { maxLength: 8 }), kept, fc.integer({ min: 10, max: 5 * MIB }), (ranges, kept, layerBytes) => {
        const path: KeptPath = { lineage: lineageTo(kept.at(-1)!), kept };
        let available = ranges.filter(({ last }) => last <= kept.at(-1)!).map((each) => built(each, layerBytes));
        for (let round = 0; missingIndexes(available, path).length > 0; round += 1) {
          expect(round).toBeLessThan(12);
          for (const each of missingIndexes(available, path)) {
            const sources = planIndexes(available, path.lineage, each.last, each.first);
            expect(sources.indexes.length + sources.layers.length).toBeLessThanOrEqual(64);
            available.push(built(each, layerBytes));
          }
          available = without(available, unneededIndexes(available, [path]));
        }
        available = without(available, unneededIndexes(available, [path]));
        expect(missingIndexes(available, path)).toEqual([]);
        for (const position of kept) {
          const { indexes, layers } = planIndexes(available, path.lineage, position);
          expect(layers).toEqual([]);
          expect(indexes.length).toBeLessThanOrEqual(2 + Math.log2(position + 1));
        }
        expect(unneededIndexes(available, [path])).toEqual([]);
      }),
      { numRuns: count(100, 3_000) },
    );
  });

  it('writes little more than each layer brings, while points come and go for a long time', () => {
    const [layerBytes, points] = [300_000, count(600, 5_000)];
    let available: IndexRef[] = [];
    let written = 0;
    let sourcesMax = 0;
    for (let head = 0; head < points; head += 1) {
      // One a day for good, the last two dozen, and the head.
      const kept = Array.from({ length: head + 1 }, (_, position) => position).filter(
        (position) => position % 288 === 0 || position > head - 24,
      );
      const path: KeptPath = { lineage: lineageTo(head), kept };
      for (const each of missingIndexes(available, path)) {
        const index = built(each, layerBytes);
        written += index.bytes;
        available.push(index);
      }
      available = without(available, unneededIndexes(available, [path]));
      const { indexes, layers } = planIndexes(available, path.lineage, head);
      expect(layers).toEqual([]);
      sourcesMax = Math.max(sourcesMax, indexes.length);
    }
    expect(sourcesMax).toBeLessThanOrEqual(7);
    expect(written / (points * layerBytes)).toBeLessThan(7);
  });
});

describe('dyadic ranges', () => {
  it('adjoin, and have lengths that are powers of two, each shorter than the one before', () => {
    fc.assert(
      fc.property(fc.nat({ max: 100_000 }), fc.nat({ max: 5_000 }), (first, more) => {
        let at = first;
        let before = Infinity;
        for (const each of dyadicRanges(first, first + more)) {
          const length = each.last - each.first + 1;
          expect(each.first).toBe(at);
          expect(Number.isInteger(Math.log2(length)) && length < before).toBe(true);
          before = length;
          at = each.last + 1;
        }
        expect(at).toBe(first + more + 1);
      }),
    );
  });
});

function without(indexes: readonly IndexRef[], gone: readonly IndexRef[]): IndexRef[] {
  return indexes.filter((index) => !gone.includes(index));
}

/** By trying everything: how few sources can cover a range. */
function fewest(available: readonly IndexRef[], { first, last }: IndexRange): number {
  const cost = Array.from({ length: last + 2 }, () => Infinity);
  cost[first] = 0;
  for (let position = first; position <= last; position += 1) {
    cost[position + 1] = Math.min(cost[position + 1]!, cost[position]! + 1);
    for (const index of available) {
      const isUsable = index.first >= first && index.first <= position && index.last >= position && index.last <= last;
      if (isUsable) cost[index.last + 1] = Math.min(cost[index.last + 1]!, cost[position]! + 1);
    }
  }
  return cost[last + 1]!;
}
