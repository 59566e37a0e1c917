import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BLOCK_BYTES, GRAIN_BYTES } from '#libs/chain';
import { collect } from '../../../../test/support/primary/collect.js';
import type { SourceDisk, SourceExtent } from '../source/vm-source.js';
import { grainCount, planBlocks, planDisks, withWhole, type Piece } from './block-plan.js';
import { count } from '../../../../test/support/counts.js';

const plan = (...extents: SourceExtent[]): Promise<Piece[]> => collect(planBlocks(0, extents));
const data = (offset: number, length: number): SourceExtent => ({ offset, length, zero: false });
const zero = (offset: number, length: number): SourceExtent => ({ offset, length, zero: true });

describe('planBlocks', () => {
  it('groups grains into blocks with masks', async () => {
    expect(await plan(data(0, 1), data(3 * GRAIN_BYTES, GRAIN_BYTES), data(BLOCK_BYTES - GRAIN_BYTES, 2 * GRAIN_BYTES))).toEqual([
      { kind: 'data', disk: 0, block: 0, mask: 0b1000_0000_0000_1001 },
      { kind: 'data', disk: 0, block: 1, mask: 1 },
    ]);
  });

  it('gives whole blocks of zeros as one run, and reads the parts that share a block with data', async () => {
    expect(await plan(data(0, 100), zero(100, 5 * BLOCK_BYTES), data(5 * BLOCK_BYTES + 100, 100))).toEqual([
      { kind: 'data', disk: 0, block: 0, mask: 0xffff },
      { kind: 'zero', disk: 0, block: 1, count: 4 },
      { kind: 'data', disk: 0, block: 5, mask: 1 },
    ]);
  });

  it('reads a grain that begins with zeros and goes on with data', async () => {
    expect(await plan(zero(512, 512), data(1024, 512))).toEqual([{ kind: 'data', disk: 0, block: 0, mask: 1 }]);
  });

  it('covers each grain that changed, ascending, no block twice, and takes only zeros for zeros', async () => {
    const run = fc.record({
      gap: fc.oneof(fc.constant(0), fc.nat(100_000)),
      length: fc.oneof(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 300_000 })),
      zero: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(run, { maxLength: 30 }), async (runs) => {
        let at = 0;
        const extents = runs.map(({ gap, length, zero }) => {
          const extent = { offset: at + gap, length, zero };
          at = extent.offset + length;
          return extent;
        });
        const pieces = await plan(...extents);
        let lastBlock = -1;
        const covered = new Map<number, Piece['kind']>();
        for (const piece of pieces) {
          expect(piece.block).toBeGreaterThan(lastBlock);
          lastBlock = piece.kind === 'zero' ? piece.block + piece.count - 1 : piece.block;
          if (piece.kind === 'zero') {
            for (let grain = piece.block * 16; grain < (piece.block + piece.count) * 16; grain += 1) covered.set(grain, 'zero');
          } else {
            for (let bit = 0; bit < 16; bit += 1) if ((piece.mask & (1 << bit)) !== 0) covered.set(piece.block * 16 + bit, 'data');
          }
        }
        for (const extent of extents) {
          const end = extent.offset + extent.length;
          const first = extent.zero ? Math.ceil(extent.offset / GRAIN_BYTES) : Math.floor(extent.offset / GRAIN_BYTES);
          const last = extent.zero ? Math.floor(end / GRAIN_BYTES) : Math.ceil(end / GRAIN_BYTES);
          for (let grain = first; grain < last; grain += 1) {
            const kind = covered.get(grain);
            if (extent.zero) expect(kind).toBeDefined();
            else expect(kind).toBe('data');
          }
        }
      }),
      { numRuns: count(500, 20_000) },
    );
  });

  it('counts grains', () => {
    expect([0, 1, 0xffff, 0b1010].map(grainCount)).toEqual([0, 1, 16, 2]);
  });
});

describe('withWhole', () => {
  const whole = (extents: SourceExtent[], ...stretches: (readonly [block: number, count: number])[]): Promise<Piece[]> =>
    collect(
      withWhole(
        { ordinal: 0, sizeBytes: 6 * BLOCK_BYTES },
        planBlocks(0, extents),
        stretches.map(([block, count]) => ({ disk: 0, block, count })),
      ),
    );

  it('carries blocks whole that did not change, or in part, and no further than the disk goes', async () => {
    expect(await whole([data(BLOCK_BYTES, 1), data(3 * BLOCK_BYTES, 1)], [0, 2], [5, 100], [1, 1])).toEqual([
      { kind: 'data', disk: 0, block: 0, mask: 0xffff },
      { kind: 'data', disk: 0, block: 1, mask: 0xffff },
      { kind: 'data', disk: 0, block: 3, mask: 1 },
      { kind: 'data', disk: 0, block: 5, mask: 0xffff },
    ]);
  });

  it('leaves zeros, which are whole already, and other disks alone', async () => {
    expect(await whole([zero(BLOCK_BYTES, 3 * BLOCK_BYTES)], [0, 3])).toEqual([
      { kind: 'data', disk: 0, block: 0, mask: 0xffff },
      { kind: 'zero', disk: 0, block: 1, count: 3 },
    ]);
    expect(await collect(planDisks([], {}, [{ disk: 3, block: 0, count: 1 }]))).toEqual([]);
  });
});

describe('planDisks', () => {
  const disk = (ordinal: number, sizeBytes: number, extents: SourceExtent[]): SourceDisk => ({
    ordinal,
    sizeBytes,
    uri: null,
    extents: async function* () {
      yield* extents;
    },
    readInto: () => Promise.reject(new Error('not read')),
  });

  it('takes disks by ordinal', async () => {
    const pieces = await collect(planDisks([disk(4, BLOCK_BYTES, [data(0, 1)]), disk(2, BLOCK_BYTES, [data(0, 1)])], {}));
    expect(pieces.map((piece) => piece.disk)).toEqual([2, 4]);
  });

  it('carries zeros from the new end to the old when a disk became smaller', async () => {
    const sizeBytes = BLOCK_BYTES + GRAIN_BYTES;
    const pieces = await collect(planDisks([disk(0, sizeBytes, [])], { 0: 4 * BLOCK_BYTES }));
    expect(pieces).toEqual([
      { kind: 'data', disk: 0, block: 1, mask: 0xfffe },
      { kind: 'zero', disk: 0, block: 2, count: 2 },
    ]);
  });

  it('takes a zero tail of a disk for a whole block', async () => {
    const pieces = await collect(planDisks([disk(0, BLOCK_BYTES + 512, [zero(0, BLOCK_BYTES + 512)])], {}));
    expect(pieces).toEqual([{ kind: 'zero', disk: 0, block: 0, count: 2 }]);
  });
});
