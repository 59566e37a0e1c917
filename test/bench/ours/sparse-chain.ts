import {
  BLOCK_BYTES,
  buildIndex,
  GRAIN_BYTES,
  missingIndexes,
  openView,
  planIndexes,
  SegmentBuilder,
  type BuiltSegment,
  type ChainView,
  type IndexRef,
} from '#libs/chain';
import type { ObjectStore } from '#libs/object-store';
import { BenchChain } from './bench-chain.js';
import { RandomBytes } from '../image/random-bytes.js';

const FIRST_GRAIN = 1;
const RUN_BLOCKS = 16;

/**
 * A chain of many points over a disk that may be large: a base with some blocks, then points with a few each. Blocks hold one grain, so that it is made in
 * seconds; what a map of them costs does not depend on how full they are.
 */
export class SparseChain extends BenchChain {
  readonly #random = new RandomBytes('sparse');
  /** Every index there is. */
  readonly indexes: IndexRef[] = [];

  get blockCount(): number {
    return this.sizeBytes / BLOCK_BYTES;
  }

  /** A point with `count` blocks that lie evenly over the disk. */
  async addEven(count: number): Promise<void> {
    const step = this.blockCount / count;
    await this.#add(Array.from({ length: count }, (_, index) => Math.floor(index * step)));
  }

  /** Points with `runs` stretches of blocks each, anywhere, as guests write, until there are so many. */
  async growTo(points: number, runs: number): Promise<void> {
    while (this.points.length < points) {
      const starts = new Set<number>();
      while (starts.size < runs) starts.add(this.#random.below(this.blockCount / RUN_BLOCKS));
      const ascending = [...starts].sort((a, b) => a - b);
      await this.#add(ascending.flatMap((start) => Array.from({ length: RUN_BLOCKS }, (_, index) => start * RUN_BLOCKS + index)));
    }
  }

  /** What maintenance builds so that the newest point opens at once. */
  async buildIndexes(): Promise<void> {
    const { tenantId, chainId, branchId, store, points } = this;
    const last = points.length - 1;
    const lineage = [{ branchId, last }];
    for (;;) {
      const missing = missingIndexes(this.indexes, { lineage, kept: [last] });
      if (missing.length === 0) return;
      for (const range of missing) {
        const [head, below] = [points[range.last]!, points[range.first - 1] ?? null];
        const known = points.slice(range.first, range.last + 1);
        const usable = this.indexes.filter(({ first, last }) => first >= range.first && last <= range.last);
        this.indexes.push(await buildIndex({ store, tenantId, chainId, head, below, known, indexes: usable }));
      }
    }
  }

  /** Opens a position with the indexes that a catalogue would give along: those that the path's plan needs. */
  openAt(position: number, store: ObjectStore): Promise<ChainView> {
    const { tenantId, chainId, branchId, keys, points } = this;
    const { indexes, layers } = planIndexes(this.indexes, [{ branchId, last: position }], position);
    const known = layers.map((layer) => points[layer]!);
    return openView({ store, tenantId, chainId, head: points[position]!, keys, indexes, known });
  }

  async #add(blocks: readonly number[]): Promise<void> {
    const segments: BuiltSegment[] = [];
    let builder = this.#builder();
    for (const block of blocks) {
      if (builder.isFull) {
        segments.push(builder.finish());
        builder = this.#builder();
      }
      const grain = Buffer.alloc(GRAIN_BYTES);
      grain.writeDoubleBE(block + 1);
      builder.add(0, block, FIRST_GRAIN, grain);
    }
    segments.push(builder.finish());
    for (const { sha256, bytes, sizeBytes } of segments) await this.store.put(this.names.segment(sha256), bytes, { sha256, sizeBytes });
    await this.commit(segments);
  }

  #builder(): SegmentBuilder {
    const { chainId, keys } = this;
    const cycle = this.nextCycle();
    return new SegmentBuilder({ chainId, cycle, generation: 1, dataKey: keys.dataKey(1), fingerprintKey: keys.fingerprintKey });
  }
}
