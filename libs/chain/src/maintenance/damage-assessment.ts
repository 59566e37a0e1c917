import { AffectedPositions, type AffectedPositionsOptions } from '../check/affected-positions.js';
import { openLayers } from '../indexes/build-index.js';
import { BLOCKS_PER_PAGE } from '../indexes/page.js';
import { BLOCKS_PER_DISK_MAX } from '../limits.js';
import type { LiveSegment } from './chain-ledger.js';
import { pathOf, resolutionFor } from './resolve-view.js';
import type { Damage, DamagedBlocks } from './scrub-ledger.js';
import { isMissingOrCorrupt, type Fault, type ObjectVerifier, type ScrubObject } from './scrub-objects.js';

export interface AssessmentOptions extends AffectedPositionsOptions {
  readonly objects: ReadonlyMap<string, ScrubObject>;
  readonly verifier: ObjectVerifier;
}

/** Told to a writer at most; more, and it is told whole stretches. */
const STRETCHES_MAX = 1_000;

/** To which kept positions a damage matters, and which blocks would heal the newest. */
export class DamageAssessment {
  readonly #affected: AffectedPositions;
  readonly #newest: bigint;

  constructor(private readonly options: AssessmentOptions) {
    this.#affected = new AffectedPositions(options);
    this.#newest = [...options.reading.kept].reduce((a, b) => (a > b ? a : b), 0n);
  }

  async of(object: ScrubObject, fault: Fault): Promise<Pick<Damage, 'positions' | 'assessedTo' | 'blocks'>> {
    const positions = await this.#positions(object, fault);
    const isAtHead = object.kind === 'segment' && positions.includes(this.#newest);
    return { positions, assessedTo: this.#newest, blocks: isAtHead ? await this.#blocks(object.segment) : [] };
  }

  async #positions(object: ScrubObject, { layer }: Fault): Promise<readonly bigint[]> {
    switch (object.kind) {
      case 'segment':
        return this.#affected.by(object.segment);
      case 'manifest':
        // Where an index covers the layer, its documents are not read.
        return (await this.#affected.by(layer!)).filter((position) => position === layer || this.#reads(position, layer!));
      case 'key':
        return (await this.#hasSibling(object.name)) ? [] : [...this.options.reading.kept];
      default:
        return [];
    }
  }

  #reads(position: bigint, layer: bigint): boolean {
    return this.#resolution(position).layers.some(({ cycle }) => cycle === layer);
  }

  /** The same key, wrapped to another. */
  async #hasSibling(name: string): Promise<boolean> {
    const same = name.slice(0, name.lastIndexOf('-') + 1);
    for (const other of this.options.objects.values()) {
      if (other.kind !== 'key' || other.name === name || !other.name.startsWith(same)) continue;
      if ((await this.options.verifier.verify(other, null)).faults.length === 0) return true;
    }
    return false;
  }

  /** What the newest position shows of a segment. Where its map cannot be read, all that the segment spans. */
  async #blocks(segment: LiveSegment): Promise<DamagedBlocks[]> {
    const { sha256, first, last } = segment;
    const stretches: DamagedBlocks[] = [];
    try {
      const { store, address, signal } = this.options;
      const { ref, indexes, layers, replacements } = this.#resolution(this.#newest);
      const { stack } = await openLayers({
        ...address,
        store,
        head: ref,
        below: null,
        indexes,
        known: layers,
        replacements: new Map(replacements.map(({ segment: old, by }) => [old, by])),
        signal,
      });
      for (const disk of stack.disks.filter((each) => each >= first.disk && each <= last.disk)) {
        const from = disk === first.disk ? Math.floor(first.block / BLOCKS_PER_PAGE) : 0;
        const to = disk === last.disk ? Math.floor(last.block / BLOCKS_PER_PAGE) + 1 : Number.MAX_SAFE_INTEGER;
        for await (const { page, first: pageIndex } of stack.stretches(disk, from, to)) {
          for (let index = 0; index < page.count; index += 1)
            if (page.segmentNames[page.segments[index]!] === sha256)
              addBlock(stretches, disk, pageIndex * BLOCKS_PER_PAGE + page.slots[index]!);
        }
      }
      if (stretches.length <= STRETCHES_MAX) return stretches;
    } catch (error) {
      this.options.signal.throwIfAborted();
      if (!isMissingOrCorrupt(error)) throw error;
    }
    return spanOf(segment);
  }

  #resolution(position: bigint) {
    const { reading } = this.options;
    const { ref } = reading.lineage.find((entry) => entry.ref.cycle === position)!;
    return { ref, ...resolutionFor(reading, pathOf(reading.lineage, ref)) };
  }
}

function addBlock(stretches: DamagedBlocks[], disk: number, block: number): void {
  const before = stretches.at(-1);
  const end = before === undefined || before.disk !== disk ? -1 : before.block + before.count;
  if (block === end) stretches[stretches.length - 1] = { ...before!, count: before!.count + 1 };
  else if (block > end) stretches.push({ disk, block, count: 1 });
}

function spanOf({ first, last }: LiveSegment): DamagedBlocks[] {
  const span: DamagedBlocks[] = [];
  for (let { disk } = first; disk <= last.disk; disk += 1) {
    const block = disk === first.disk ? first.block : 0;
    const end = disk === last.disk ? last.block + 1 : BLOCKS_PER_DISK_MAX;
    span.push({ disk, block, count: end - block });
  }
  return span;
}
