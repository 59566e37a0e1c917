import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { count } from '../support/counts.js';
import { IMAGE_KINDS } from '../support/disk-exports.js';
import { HistoryWorld } from '../support/history-world.js';

/*
 * The whole life of a chain against a plain disk: writes, points, branches, retention, pins, sizes, compaction, collection, scrub, crashes, exports, imports. A failure prints
 * its seed; `HOLDFAST_TEST_SEED` brings it back.
 */

const RUNS = count(30, 5_000);
const BLOCK_BYTES = 65_536;
const BLOCKS = 8;

const pick = fc.nat(50);
const ending = fc.option(
  fc.record({ how: fc.constantFrom('unavailable' as const, 'answer-lost' as const, 'crash' as const), after: fc.nat(20) }),
  { freq: 2 },
);
const place = fc.nat(BLOCKS * BLOCK_BYTES);
const length = fc.integer({ min: 1, max: 3 * BLOCK_BYTES });

type Step = (world: HistoryWorld) => void | Promise<void>;
const taken = new Set<string>();

function of<T extends unknown[]>(
  weight: number,
  name: string,
  words: fc.Arbitrary<T>,
  work: (world: HistoryWorld, ...words: T) => void | Promise<void>,
) {
  const step =
    (all: T): Step =>
    (world) => {
      taken.add(name);
      return work(world, ...all);
    };
  return { weight, arbitrary: words.map(step) };
}

const step: fc.Arbitrary<Step> = fc.oneof(
  of(8, 'write', fc.tuple(place, length, fc.nat(5)), ({ chain }, ...words) => chain.write(...words)),
  of(2, 'discard', fc.tuple(fc.nat(BLOCKS), fc.integer({ min: 1, max: 3 })), ({ chain }, block, blocks) =>
    chain.write(block * BLOCK_BYTES, blocks * BLOCK_BYTES, 0),
  ),
  of(6, 'commit', fc.tuple(fc.constantFrom('point' as const, 'point' as const, 'staging' as const), ending), (world, ...words) =>
    world.commit(...words),
  ),
  of(1, 'branch', fc.tuple(pick), (world, which) => world.branch(which)),
  of(1, 'resize', fc.tuple(fc.integer({ min: 1, max: BLOCKS })), ({ chain }, blocks) => chain.resize(blocks)),
  of(1, 'pin', fc.tuple(pick), (world, which) => world.pin(which)),
  of(2, 'retain', fc.tuple(fc.nat(3)), (world, hours) => world.retain(hours)),
  of(3, 'maintain', fc.tuple(ending), (world, how) => world.maintain(how)),
  of(3, 'collect', fc.tuple(ending), (world, how) => world.collect(how)),
  of(1, 'scrub', fc.constant([] as []), (world) => world.scrub()),
  of(1, 'lose an index', fc.tuple(pick), (world, which) => world.loseIndex(which)),
  of(2, 'open', fc.tuple(pick), (world, which) => world.open(which)),
  of(3, 'read', fc.tuple(pick, place, length), (world, ...words) => world.read(...words)),
  of(1, 'close', fc.tuple(pick), (world, which) => world.close(which)),
  of(1, 'export', fc.tuple(pick, fc.constantFrom(...IMAGE_KINDS)), (world, ...words) => world.export(...words)),
  of(
    1,
    'import',
    fc.tuple(fc.constantFrom(...IMAGE_KINDS), fc.integer({ min: 1, max: BLOCKS }), place, length),
    (world, kind, blocks, at, bytes) => {
      const content = Buffer.alloc(blocks * BLOCK_BYTES);
      const child = Buffer.alloc(content.length);
      for (const disk of [content, child]) randomBytes(bytes).copy(disk, at % disk.length);
      return world.import(kind, content, child);
    },
  ),
);

it('keeps every point equal, always', { timeout: 600_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40, size: 'max' }), async (steps) => {
      const world = await new HistoryWorld(BLOCKS).start();
      for (const one of steps) {
        await one(world);
        await world.expectAllKept();
      }
      await world.settle();
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
  // It would prove little without any of them.
  expect(taken.size).toBe(16);
});
