import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { count } from '../support/counts.js';
import { IMAGE_KINDS, isDifferencing } from '../support/disk-exports.js';
import { type Ending, HistoryWorld, type Took } from '../support/history-world.js';

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

type Step = (world: HistoryWorld) => Promise<void>;
/** How often each kind of step did something, over all histories. */
const taken = new Map<string, number>();

function note(name: string, took: Took): void {
  taken.set(name, (taken.get(name) ?? 0) + Number(took));
}

function of<T extends unknown[]>(
  weight: number,
  name: string,
  words: fc.Arbitrary<T>,
  work: (world: HistoryWorld, ...words: T) => Took | Promise<Took>,
) {
  note(name, false);
  const step =
    (all: T): Step =>
    async (world) =>
      note(name, await work(world, ...all));
  return { weight, arbitrary: words.map(step) };
}

/** What makes work for upkeep: content that was replaced and is kept no more is moved together, and goes. */
async function rewrite(world: HistoryWorld, seed: number, how: Ending | null, end: Ending | null): Promise<Took> {
  const before = world.compactions;
  for (let round = 0; round < 2; round += 1) {
    world.chain.write(0, BLOCKS * BLOCK_BYTES - round * 3 * BLOCK_BYTES, seed + round);
    await world.commit('point', null);
  }
  note('retain', await world.retain(0));
  note('maintain', await world.maintain(how));
  for (let round = 0; round < 2; round += 1) note('collect', await world.collect(end));
  return world.compactions > before;
}

const step: fc.Arbitrary<Step> = fc.oneof(
  of(8, 'write', fc.tuple(place, length, fc.nat(5)), ({ chain }, ...words) => {
    chain.write(...words);
    return true;
  }),
  of(2, 'discard', fc.tuple(fc.nat(BLOCKS), fc.integer({ min: 1, max: 3 })), ({ chain }, block, blocks) => {
    chain.write(block * BLOCK_BYTES, blocks * BLOCK_BYTES, 0);
    return true;
  }),
  of(6, 'commit', fc.tuple(fc.constantFrom('point' as const, 'point' as const, 'staging' as const), ending), (world, ...words) =>
    world.commit(...words),
  ),
  of(2, 'branch', fc.tuple(pick), (world, which) => world.branch(which)),
  of(2, 'resize', fc.tuple(fc.integer({ min: 1, max: BLOCKS })), (world, blocks) => world.resize(blocks)),
  of(2, 'pin', fc.tuple(pick), (world, which) => world.pin(which)),
  of(2, 'retain', fc.tuple(fc.nat(3)), (world, hours) => world.retain(hours)),
  of(3, 'maintain', fc.tuple(ending), (world, how) => world.maintain(how)),
  of(3, 'collect', fc.tuple(ending), (world, how) => world.collect(how)),
  of(2, 'commit and crash', fc.tuple(fc.nat(3)), (world, after) => world.crash('commit', after)),
  of(2, 'maintain and crash', fc.tuple(fc.nat(3)), (world, after) => world.crash('maintain', after)),
  of(2, 'collect and crash', fc.tuple(fc.nat(6)), (world, after) => world.crash('collect', after)),
  of(2, 'scrub', fc.constant([] as []), (world) => world.scrub()),
  of(3, 'rewrite', fc.tuple(fc.integer({ min: 1, max: 5 }), ending, ending), rewrite),
  of(2, 'lose an index', fc.tuple(pick), (world, which) => world.loseIndex(which)),
  of(3, 'open', fc.tuple(pick), (world, which) => world.open(which)),
  of(3, 'read', fc.tuple(pick, place, length), (world, ...words) => world.read(...words)),
  of(2, 'close', fc.tuple(pick), (world, which) => world.close(which)),
  of(2, 'export', fc.tuple(pick, fc.constantFrom(...IMAGE_KINDS.filter((kind) => !isDifferencing(kind)))), (world, ...words) =>
    world.export(...words),
  ),
  of(2, 'export what differs', fc.tuple(pick, fc.constantFrom(...IMAGE_KINDS.filter(isDifferencing))), (world, ...words) =>
    world.exportOver(...words),
  ),
  of(
    2,
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
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 40, size: 'max' }), async (steps) => {
      const world = await new HistoryWorld(BLOCKS).start();
      for (const one of steps) {
        await one(world);
        await world.expectAllKept();
      }
      await world.settle();
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
  // It would prove little without any of them; each is so frequent that chance leaves none out.
  expect([...taken].filter(([, times]) => times === 0)).toEqual([]);
});
