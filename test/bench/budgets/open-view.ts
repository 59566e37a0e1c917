import { join } from 'node:path';
import { BLOCK_BYTES, GRAIN_BYTES } from '#libs/chain';
import { GIB, TIB } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import type { Bench } from '../bench.js';
import { atMost, atMostShare, budget, type Line, type Outcome } from '../budget.js';
import { median, secondsOf } from '../measuring.js';
import { QuickStore } from '../ours/quick-store.js';
import { RoundsStore } from '../ours/rounds-store.js';
import { SparseChain } from '../ours/sparse-chain.js';

const SIZES = { '3 GiB': 3 * GIB, '1 TiB': TIB } as const;
const POINTS = [1, 24, 500, 5000] as const;
const BASE_BLOCKS = 48 * 1024;
/** Stretches of 16 blocks that each further point changes. */
const POINT_RUNS = 2;
const OPENINGS = 15;

type Size = keyof typeof SIZES;
type Case = `${Size}, ${(typeof POINTS)[number]} points`;

const CASES: readonly { readonly name: Case; readonly size: Size; readonly points: number }[] = (Object.keys(SIZES) as Size[]).flatMap(
  (size) => POINTS.map((points) => ({ name: `${size}, ${points} points` as Case, size, points })),
);
const SMALLEST: Case = '3 GiB, 1 points';

const lineOf = (name: Case): Line => ({ what: `open to first byte: ${name}`, against: 'the smallest case', goal: atMostShare('ms', 2) });

export const G13 = budget<Case | 'slowest' | 'rounds'>({
  id: 'G13',
  what: 'opening a point up to its first byte',
  lines: {
    ...(Object.fromEntries(CASES.map(({ name }) => [name, lineOf(name)])) as Record<Case, Line>),
    slowest: { what: 'open to first byte: the slowest of these', against: null, goal: atMost('ms', 50) },
    rounds: { what: 'reads that wait for one another, at most', against: null, goal: atMost('reads', 3) },
  },
  async run(bench) {
    const chains = new Map<Size, SparseChain>();
    for (const size of Object.keys(SIZES) as Size[]) chains.set(size, await sparseChain(bench, SIZES[size]));
    const timesMs = new Map<Case, number[]>(CASES.map(({ name }) => [name, []]));
    let rounds = 0;
    for (const points of POINTS) {
      for (const [size, chain] of chains) {
        bench.progress.step(`${size}: ${points} points`);
        await chain.growTo(points, POINT_RUNS);
        await chain.buildIndexes();
      }
    }
    for (let opening = 0; opening < OPENINGS; opening += 1) {
      bench.progress.step(`opening ${opening + 1} of ${OPENINGS}`);
      for (const { name, size, points } of CASES) timesMs.get(name)!.push(await openingMs(chains.get(size)!, points, opening));
    }
    for (const { size, points } of CASES) rounds = Math.max(rounds, await roundsOf(chains.get(size)!, points));
    const medians = new Map([...timesMs].map(([name, times]) => [name, median(times)]));
    const smallest = medians.get(SMALLEST)!;
    const cases = Object.fromEntries([...medians].map(([name, ours]) => [name, { ours, theirs: smallest }])) as Record<Case, Outcome>;
    return {
      ...cases,
      slowest: { ours: Math.max(...medians.values()), theirs: null },
      rounds: { ours: rounds, theirs: null, note: 'counted by a store that answers only when nothing more is asked' },
    };
  },
});

async function sparseChain(bench: Bench, sizeBytes: number): Promise<SparseChain> {
  const store = await QuickStore.open(join(await bench.memoryDir(), 'store'));
  const chain = new SparseChain(store, sizeBytes);
  await chain.addEven(BASE_BLOCKS);
  return chain;
}

/** Somewhere else on the disk each time. */
async function openingMs(chain: SparseChain, points: number, opening: number): Promise<number> {
  const offset = Math.floor((chain.blockCount / OPENINGS) * opening) * BLOCK_BYTES;
  return (await secondsOf(() => firstByte(chain, points, offset))) * 1000;
}

async function roundsOf(chain: SparseChain, points: number): Promise<number> {
  const store = new RoundsStore(chain.store);
  await firstByte(chain, points, 0, store);
  return store.rounds;
}

async function firstByte(chain: SparseChain, points: number, offset: number, store: ObjectStore = chain.store): Promise<void> {
  const view = await chain.openAt(points - 1, store);
  await view.read(0, offset, GRAIN_BYTES);
  view.close();
}
