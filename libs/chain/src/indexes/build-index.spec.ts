import fc from 'fast-check';
import { newId, type BranchId } from '#libs/kernel';
import { beforeAll, describe, expect, it } from 'vitest';
import { MemoryObjectStore, putBytes, WrappedObjectStore } from '#libs/object-store';
import { buildIndex, openLayers, openView, type BuiltIndex, type ManifestRef, type PageStack } from '../index.js';
import { BLOCK_BYTES, FULL_MASK, GRAIN_BYTES, GRAINS_PER_BLOCK } from '../limits.js';
import { grainCount } from '../record-header.js';
import { aDisk, ChainWriter, type Change } from '../testing/chain-writer.js';
import { count } from '../../../../test/support/counts.js';
import { sha256Hex } from '../sha256.js';
import { decodeRoot, encodeRoot } from './index-root.js';
import { BLOCKS_PER_PAGE, GRAINS_PER_PAGE } from './page.js';

/** Grains of a sparse disk over several pages: who wrote each, as its layer's position. */
const PAGES = 4;
const BLOCKS = PAGES * BLOCKS_PER_PAGE;
const NEVER = -1;
const ZERO = -2;

type Write = { readonly block: number; readonly mask: number } | { readonly block: number; readonly zeroCount: number };
interface Layer {
  readonly blocks: number;
  readonly writes: readonly Write[];
}

const place = fc.oneof(
  fc.nat({ max: BLOCKS - 1 }),
  fc.integer({ min: BLOCKS_PER_PAGE - 3, max: BLOCKS_PER_PAGE + 3 }),
  fc.nat({ max: 3 }),
  fc.nat({ max: PAGES - 1 }).map((page) => page * BLOCKS_PER_PAGE),
);
const write: fc.Arbitrary<Write> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ block: place, mask: fc.oneof(fc.constant(FULL_MASK), fc.integer({ min: 1, max: FULL_MASK })) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      block: place,
      zeroCount: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: BLOCKS }), fc.constant(2 * BLOCKS_PER_PAGE)),
    }),
  },
);
const layer: fc.Arbitrary<Layer> = fc.record({
  blocks: fc.oneof({ weight: 5, arbitrary: fc.constant(BLOCKS) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: BLOCKS }) }),
  writes: fc.array(write, { maxLength: 12 }),
});

class SparseChain {
  readonly writer = new ChainWriter();
  readonly refs: ManifestRef[] = [];
  readonly states: Int32Array[] = [];

  async commit({ blocks, writes }: Layer): Promise<void> {
    const position = this.refs.length;
    const state = this.states.at(-1)?.slice() ?? new Int32Array(BLOCKS * GRAINS_PER_BLOCK).fill(NEVER);
    const changes: Change[] = [];
    let end = 0;
    for (const change of [...writes].sort((a, b) => a.block - b.block)) {
      if (change.block < end) continue;
      const blockCount = 'mask' in change ? 1 : Math.min(change.zeroCount, BLOCKS - change.block);
      end = change.block + blockCount;
      const first = change.block * GRAINS_PER_BLOCK;
      if ('mask' in change) {
        changes.push({
          disk: 0,
          block: change.block,
          mask: change.mask,
          plaintext: Buffer.alloc(GRAIN_BYTES * grainCount(change.mask), position + 1),
        });
        for (let grain = 0; grain < GRAINS_PER_BLOCK; grain += 1) if ((change.mask >> grain) & 1) state[first + grain] = position;
      } else {
        changes.push({ disk: 0, block: change.block, zeroCount: blockCount });
        state.fill(ZERO, first, end * GRAINS_PER_BLOCK);
      }
    }
    state.fill(ZERO, blocks * GRAINS_PER_BLOCK);
    const disks = [aDisk(0, blocks * BLOCK_BYTES)];
    this.refs.push(await this.writer.commit({ parent: this.refs.at(-1) ?? null, disks, changes, splitAt: (index) => index % 4 === 3 }));
    this.states.push(state);
  }

  index(first: number, last: number, indexes: readonly BuiltIndex[]): Promise<BuiltIndex> {
    const { store, tenantId, chainId } = this.writer;
    return buildIndex({ store, tenantId, chainId, head: this.refs[last]!, below: this.refs[first - 1] ?? null, indexes });
  }

  async stack(last: number, indexes: readonly BuiltIndex[]): Promise<PageStack> {
    const { store, tenantId, chainId } = this.writer;
    return (await openLayers({ store, tenantId, chainId, head: this.refs[last]!, below: null, indexes, known: this.refs })).stack;
  }
}

/** What a stack says about each grain. */
async function stateOf(stack: PageStack): Promise<Int32Array> {
  const state = new Int32Array(BLOCKS * GRAINS_PER_BLOCK).fill(NEVER);
  state.fill(ZERO, stack.endOf(0));
  for await (const { first, count: pageCount, page } of stack.all()) {
    const start = first * GRAINS_PER_PAGE;
    if (page.isZero) state.fill(ZERO, start, start + pageCount * GRAINS_PER_PAGE);
    for (let pair = 0; pair < page.zeros.length; pair += 2) {
      const from = start + page.zeros[pair]! * GRAINS_PER_BLOCK;
      state.fill(ZERO, from, from + page.zeros[pair + 1]! * GRAINS_PER_BLOCK);
    }
    for (let index = 0; index < page.count; index += 1) {
      const { visible, position } = page.place(index);
      for (let grain = 0; grain < GRAINS_PER_BLOCK; grain += 1) {
        if ((visible >> grain) & 1) state[start + page.slots[index]! * GRAINS_PER_BLOCK + grain] = position;
      }
    }
  }
  return state;
}

describe('an index of a sparse disk', () => {
  it('says of every grain which layer shows it, like the layers themselves', async () => {
    const range = fc.tuple(fc.nat({ max: 20 }), fc.nat({ max: 20 }), fc.boolean());
    await fc.assert(
      fc.asyncProperty(fc.array(layer, { minLength: 1, maxLength: 7 }), fc.array(range, { maxLength: 5 }), async (layers, ranges) => {
        const chain = new SparseChain();
        for (const each of layers) await chain.commit(each);
        const indexes: BuiltIndex[] = [];
        for (const [a, b, useOthers] of ranges) {
          const [first, last] = [a % layers.length, b % layers.length].sort((x, y) => x - y) as [number, number];
          indexes.push(await chain.index(first, last, useOthers ? indexes : []));
        }
        for (const [last, expected] of chain.states.entries()) {
          expect(Buffer.compare(bytesOf(await stateOf(await chain.stack(last, indexes))), bytesOf(expected)), `point ${last}`).toBe(0);
        }
      }),
      { numRuns: count(40, 3_000) },
    );
  });
});

function bytesOf(state: Int32Array): Buffer {
  return Buffer.from(state.buffer, state.byteOffset, state.byteLength);
}

describe('an index', () => {
  const chain = new SparseChain();
  const all = (from: number, to: number): Write[] =>
    Array.from({ length: to - from }, (_, index) => ({ block: from + index, mask: FULL_MASK }));

  beforeAll(async () => {
    await chain.commit({ blocks: BLOCKS, writes: all(0, 300) });
    await chain.commit({
      blocks: BLOCKS,
      writes: [
        { block: 100, mask: 0b110 },
        { block: BLOCKS_PER_PAGE, zeroCount: 2 * BLOCKS_PER_PAGE },
      ],
    });
    await chain.commit({ blocks: BLOCKS, writes: [{ block: BLOCKS - 1, mask: 1 }] });
  });

  it('has the same bytes, whether it is built from layers or from other indexes', async () => {
    const plain = await chain.index(0, 2, []);
    const parts = [await chain.index(0, 0, []), await chain.index(1, 2, [])];
    expect(await chain.index(0, 2, parts)).toEqual(plain);
    expect(plain).toMatchObject({ first: 0, last: 2, lastCycle: chain.refs[2]!.cycle, parts: [], bytes: plain.sizeBytes });
  });

  it('is read without the layers it covers', async () => {
    const { tenantId, chainId, keys, names, store } = chain.writer;
    const index = await chain.index(0, 2, []);
    const fewer = new MemoryObjectStore();
    for await (const { key } of store.list('')) {
      const isNeeded = key.startsWith(`${names.prefix}s/`) || key === names.index(index.sha256) || key === names.manifest(chain.refs[2]!);
      if (isNeeded) await putBytes(fewer, key, await store.get(key));
    }
    const view = await openView({ store: fewer, tenantId, chainId, keys, head: chain.refs[2]!, indexes: [index] });
    expect((await view.read(0, 100 * BLOCK_BYTES, BLOCK_BYTES))[GRAIN_BYTES]).toBe(2);
    expect((await view.read(0, BLOCKS_PER_PAGE * BLOCK_BYTES, 10)).equals(Buffer.alloc(10))).toBe(true);
  });

  it('leads to the first byte in three reads after one another', async () => {
    const { tenantId, chainId, keys, store } = chain.writer;
    const indexes = await Promise.all([inParts(await chain.index(0, 1, [])), inParts(await chain.index(2, 2, []))]);
    const rounds = new RoundStore(store);
    const view = await openView({ store: rounds, tenantId, chainId, keys, head: chain.refs[2]!, indexes });
    expect((await view.read(0, 100 * BLOCK_BYTES, BLOCK_BYTES))[GRAIN_BYTES]).toBe(2);
    expect(rounds.count).toBe(3);
    // Of the layers' own: manifests, which are known, lists, footers, records.
    const unindexed = new RoundStore(store);
    const slow = await openView({ store: unindexed, tenantId, chainId, keys, head: chain.refs[2]!, known: chain.refs, parallelism: 100 });
    expect((await slow.read(0, 100 * BLOCK_BYTES, BLOCK_BYTES))[GRAIN_BYTES]).toBe(2);
    expect(unindexed.count).toBe(4);
  });

  it('of another branch is found out by its path, whatever is said of it', async () => {
    const { writer } = chain;
    const { tenantId, chainId, keys, store } = writer;
    const disks = [aDisk(0, BLOCKS * BLOCK_BYTES)];
    const written = (value: number): Change[] => [{ disk: 0, block: 0, mask: 1, plaintext: Buffer.alloc(GRAIN_BYTES, value) }];
    const root = await writer.commit({ parent: null, disks, changes: written(1) });
    const [trunk, fork] = [
      await writer.commit({ parent: root, disks, changes: written(2) }),
      await writer.commit({ parent: root, disks, changes: written(3), branchId: newId<BranchId>() }),
    ];
    const index = await buildIndex({ store, tenantId, chainId, head: trunk, below: null });
    for (const known of [[], [root, trunk]]) {
      const view = await openView({ store, tenantId, chainId, keys, head: fork, indexes: [index], known });
      expect((await view.read(0, 0, 1))[0]).toBe(3);
    }
  });

  it('is done without where a part is missing or damaged, also once the view is open', async () => {
    const { tenantId, chainId, keys, names, store } = chain.writer;
    const whole = await chain.index(0, 2, []);
    for (const harm of ['missing', 'flipped'] as const) {
      const index = await inParts(whole);
      const part = names.index(index.parts[0]!);
      const bytes = await store.get(part);
      const view = await openView({ store, tenantId, chainId, keys, head: chain.refs[2]!, indexes: [index] });
      expect((await view.read(0, (BLOCKS - 1) * BLOCK_BYTES, 1))[0]).toBe(3);
      await store.delete(part);
      if (harm === 'flipped')
        await putBytes(
          store,
          part,
          bytes.map((byte, at) => (at === 5 ? byte ^ 1 : byte)),
        );
      expect((await view.read(0, 100 * BLOCK_BYTES, BLOCK_BYTES))[GRAIN_BYTES], harm).toBe(2);
      expect(await view.extents(0, 0, 2 * BLOCK_BYTES)).toEqual([{ offset: 0, length: 2 * BLOCK_BYTES, zero: false }]);
      await store.delete(part);
      const again = await openView({ store, tenantId, chainId, keys, head: chain.refs[2]!, indexes: [index] });
      expect((await again.read(0, 100 * BLOCK_BYTES, BLOCK_BYTES))[GRAIN_BYTES], harm).toBe(2);
    }
  });

  /** The same index as a large one would be: its pages lie in objects of their own. */
  async function inParts(index: BuiltIndex): Promise<BuiltIndex> {
    const { chainId, names, store } = chain.writer;
    const bytes = await store.get(names.index(index.sha256));
    const root = decodeRoot(bytes, { chainId });
    const pages = bytes.subarray(root.inlineAt);
    const part = { sha256: sha256Hex(pages), sizeBytes: pages.length };
    const parted = encodeRoot({ ...root, parts: [part] }, []);
    await putBytes(store, names.index(part.sha256), pages);
    await putBytes(store, names.index(sha256Hex(parted)), parted);
    return { ...index, sha256: sha256Hex(parted), sizeBytes: parted.length, parts: [part.sha256] };
  }
});

/** Answers all reads that wait at the same time, then the next ones: how often is how many had to follow one another. */
class RoundStore extends WrappedObjectStore {
  count = 0;
  #round: Promise<void> | null = null;

  override async get(...words: Parameters<MemoryObjectStore['get']>): Promise<Buffer> {
    await this.#inNextRound();
    return super.get(...words);
  }

  override async stream(...words: Parameters<MemoryObjectStore['stream']>): Promise<AsyncIterable<Uint8Array>> {
    await this.#inNextRound();
    return super.stream(...words);
  }

  #inNextRound(): Promise<void> {
    this.#round ??= new Promise((resolve) =>
      setTimeout(() => {
        this.count += 1;
        this.#round = null;
        resolve();
      }, 20),
    );
    return this.#round;
  }
}
