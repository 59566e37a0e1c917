import { PlatformError } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { openLayers } from '../indexes/build-index.js';
import { BLOCKS_PER_PAGE } from '../indexes/page.js';
import type { ChainReading, LiveSegment } from '../maintenance/chain-ledger.js';
import { pathOf, resolutionFor } from '../maintenance/resolve-view.js';

export interface AffectedPositionsOptions {
  readonly store: ObjectStore;
  readonly address: ChainAddress;
  readonly reading: ChainReading;
  readonly signal: AbortSignal;
}

/** After so many damaged segments it is no use to look closely: whatever could show them counts. */
const LOOKED_AT_MAX = 100;

/** Which kept positions a damaged object matters to. */
export class AffectedPositions {
  private lookedAt = 0;
  /** Of each cycle, those of the kept positions that have it on their path. */
  private above: ReadonlyMap<bigint, readonly bigint[]> | undefined;

  constructor(private readonly options: AffectedPositionsOptions) {}

  /** A segment matters where any of its records shows; a layer's own documents, by its cycle, to all that stand on the layer. */
  async by(holder: LiveSegment | bigint): Promise<bigint[]> {
    if (typeof holder === 'bigint') return [...this.#standingOn([holder])];
    const candidates = this.#standingOn(this.#cyclesIn(holder));
    this.lookedAt += 1;
    if (this.lookedAt > LOOKED_AT_MAX) return [...candidates];
    const affected: bigint[] = [];
    for (const position of candidates) if (await this.#shows(position, holder)) affected.push(position);
    return affected;
  }

  #cyclesIn({ sha256, cycle }: LiveSegment): bigint[] {
    if (cycle !== null) return [cycle];
    return this.options.reading.replacements.filter(({ by }) => by.some((entry) => entry.sha256 === sha256)).map((entry) => entry.cycle);
  }

  #standingOn(cycles: readonly bigint[]): Set<bigint> {
    this.above ??= this.#positionsAbove();
    const positions = new Set(cycles.flatMap((cycle) => this.above!.get(cycle) ?? []));
    return new Set([...positions].sort((a, b) => (a < b ? -1 : 1)));
  }

  #positionsAbove(): Map<bigint, bigint[]> {
    const { lineage, kept } = this.options.reading;
    const above = new Map<bigint, bigint[]>();
    for (const { ref } of lineage.filter((entry) => kept.has(entry.ref.cycle))) {
      for (const { cycle } of pathOf(lineage, ref)) {
        const positions = above.get(cycle);
        if (positions === undefined) above.set(cycle, [ref.cycle]);
        else positions.push(ref.cycle);
      }
    }
    return above;
  }

  /** By the merged map of the position, where the segment has its blocks. One that cannot be read is affected. */
  async #shows(position: bigint, { sha256, first, last }: LiveSegment): Promise<boolean> {
    const { store, address, reading, signal } = this.options;
    const { ref } = reading.lineage.find((entry) => entry.ref.cycle === position)!;
    const { indexes, layers, replacements } = resolutionFor(reading, pathOf(reading.lineage, ref));
    try {
      const { stack } = await openLayers({
        ...address,
        store,
        head: ref,
        below: null,
        indexes,
        known: layers,
        replacements: new Map(replacements.map(({ segment, by }) => [segment, by])),
        signal,
      });
      for (const disk of stack.disks.filter((each) => each >= first.disk && each <= last.disk)) {
        const from = disk === first.disk ? Math.floor(first.block / BLOCKS_PER_PAGE) : 0;
        const to = disk === last.disk ? Math.floor(last.block / BLOCKS_PER_PAGE) + 1 : Number.MAX_SAFE_INTEGER;
        for await (const { page } of stack.stretches(disk, from, to)) if (page.segmentNames.includes(sha256)) return true;
      }
      return false;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof PlatformError && error.kind === 'unavailable') throw error;
      return true;
    }
  }
}
