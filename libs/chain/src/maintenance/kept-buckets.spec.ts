import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newId, type BranchId } from '#libs/kernel';
import type { ManifestRef } from '../manifest/manifest.js';
import type { LineageEntry } from './chain-ledger.js';
import { keptBuckets } from './kept-buckets.js';

const branchId = newId<BranchId>();
const refOf = (cycle: number, sequence: number): ManifestRef => ({ branchId, sequence, cycle: BigInt(cycle), sha256: '', path: '' });

/** Any tree: each manifest names its parent among the earlier ones. */
const tree = fc.array(fc.nat(), { minLength: 1, maxLength: 40 }).map((picks) => {
  const entries: LineageEntry[] = [];
  for (const [index, pick] of picks.entries()) {
    const parent = index === 0 ? null : entries[pick % entries.length]!.ref;
    entries.push({ ref: refOf(index + 1, parent === null ? 0 : parent.sequence + 1), parent });
  }
  return entries;
});

describe('buckets', () => {
  it('part the layers that kept positions see, each into one bucket that ends where somebody may read', () => {
    fc.assert(
      fc.property(tree, fc.array(fc.nat(), { maxLength: 10 }), (lineage, picks) => {
        const kept = new Set(picks.map((pick) => lineage[pick % lineage.length]!.ref.cycle));
        const parentOf = new Map(lineage.map(({ ref, parent }) => [ref.cycle, parent?.cycle ?? null]));
        const buckets = keptBuckets(lineage, kept);
        const layers = buckets.flatMap((bucket) => bucket.layers.map(({ cycle }) => cycle));
        expect(new Set(layers).size).toBe(layers.length);
        const seen = new Set<bigint>();
        for (const cycle of kept) for (let at: bigint | null = cycle; at !== null; at = parentOf.get(at) ?? null) seen.add(at);
        expect(new Set(layers)).toEqual(seen);
        const ends = new Set(buckets.map(({ end }) => end));
        for (const cycle of kept) expect(ends.has(cycle)).toBe(true);
        for (const bucket of buckets) {
          expect(bucket.layers[0]!.cycle).toBe(bucket.end);
          expect(parentOf.get(bucket.layers.at(-1)!.cycle)).toBe(bucket.start);
          // Inside a bucket nobody reads, and no path leaves it.
          for (const { cycle } of bucket.layers.slice(1)) {
            expect(kept.has(cycle)).toBe(false);
            expect([...seen].filter((child) => parentOf.get(child) === cycle)).toHaveLength(1);
          }
        }
      }),
    );
  });

  it('take nothing for dead where a parent is missing', () => {
    const lineage = [{ ref: refOf(2, 1), parent: refOf(1, 0) }];
    expect(() => keptBuckets(lineage, new Set([2n]))).toThrow(expect.objectContaining({ code: 'maintenance.lineage-broken' }));
  });
});
