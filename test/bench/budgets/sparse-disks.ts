import { join } from 'node:path';
import { BLOCK_BYTES } from '#libs/chain';
import { GIB, TIB } from '#libs/kernel';
import { FileObjectStore } from '#libs/object-store';
import type { SourceDisk } from '#libs/primary';
import { budget, told, type Line, type Outcome } from '../budget.js';
import { median, secondsOf } from '../measuring.js';
import { DiskSealer } from '../../../libs/primary/testing/seal-disks.js';
import { BenchChain } from '../ours/bench-chain.js';

const SIZES = { '1 GiB': GIB, '16 GiB': 16 * GIB, '256 GiB': 256 * GIB, '1 TiB': TIB, '16 TiB': 16 * TIB, '64 TiB': 64 * TIB } as const;
type Size = keyof typeof SIZES;

/** What is written on each disk, whatever its size: blocks that lie evenly over it. The rest was never written. */
const BLOCKS = 256;
/** What changes before the second point. */
const CHANGED_BLOCKS = 64;
const ROUNDS = 5;

type Name = `${'full' | 'delta' | 'open'} ${Size}`;
const KINDS = { full: 'commit of the first point', delta: 'commit of 64 changed blocks', open: 'open to first byte' } as const;

/** No budget of its own: shows that time goes with what is on a disk, not with its size. */
export const SPARSE = budget<Name>({
  id: 'SPARSE',
  what: 'cost of a sparse disk by its size, 256 blocks written',
  lines: Object.fromEntries(
    (Object.keys(KINDS) as (keyof typeof KINDS)[]).flatMap((kind) =>
      (Object.keys(SIZES) as Size[]).map((size): [Name, Line] => [
        `${kind} ${size}`,
        { what: `${size}: ${KINDS[kind]}`, against: 'the same on 1 GiB', goal: told('ms') },
      ]),
    ),
  ) as Record<Name, Line>,
  async run(bench) {
    const outcomes = {} as Record<Name, Outcome>;
    const smallest = new Map<string, number>();
    const note = (kind: keyof typeof KINDS, size: Size, seconds: number): void => {
      const ours = seconds * 1000;
      if (!smallest.has(kind)) smallest.set(kind, ours);
      outcomes[`${kind} ${size}`] = { ours, theirs: smallest.get(kind)! };
    };
    const sealer = new DiskSealer();
    const store = await FileObjectStore.open(join(await bench.diskDir(), 'store'));
    // The first chain also starts threads.
    await costsOf(new BenchChain(store, GIB, sealer));
    for (const size of Object.keys(SIZES) as Size[]) {
      bench.progress.step(size);
      const costs: Costs[] = [];
      while (costs.length < ROUNDS) costs.push(await costsOf(new BenchChain(store, SIZES[size], sealer)));
      for (const kind of ['full', 'delta', 'open'] as const) note(kind, size, median(costs.map((cost) => cost[kind])));
    }
    await sealer.close();
    return outcomes;
  },
});

type Costs = Record<keyof typeof KINDS, number>;

/** In seconds, of a new chain. */
async function costsOf(chain: BenchChain): Promise<Costs> {
  const { sizeBytes } = chain;
  return {
    full: await secondsOf(() => chain.addDisk(sparseDisk(sizeBytes, BLOCKS))),
    delta: await secondsOf(() => chain.addDisk(sparseDisk(sizeBytes, CHANGED_BLOCKS, true))),
    open: await secondsOf(async () => {
      const view = await chain.open();
      await view.read(0, sizeBytes / 2, 4096);
      view.close();
    }),
  };
}

/** A disk as a hypervisor tells it: what is written as data, all between as zeros; of a delta only what changed. */
function sparseDisk(sizeBytes: number, blocks: number, isDelta = false): SourceDisk {
  const step = Math.floor(sizeBytes / BLOCK_BYTES / blocks) * BLOCK_BYTES;
  return {
    ordinal: 0,
    sizeBytes,
    uri: null,
    async *extents() {
      for (let at = 0; at < blocks * step; at += step) {
        yield { offset: at, length: BLOCK_BYTES, zero: false };
        if (!isDelta && step > BLOCK_BYTES) yield { offset: at + BLOCK_BYTES, length: step - BLOCK_BYTES, zero: true };
      }
    },
    async readInto(offset, target) {
      target.fill(1 + (offset % 251));
    },
  };
}
