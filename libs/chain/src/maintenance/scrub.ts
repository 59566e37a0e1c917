import { DAY_MS, GIB, NoCrashPoints, type CrashPoints } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { ObjectNames } from '../object-names.js';
import { readAhead } from '../view/read-ahead.js';
import type { ChainStore } from '../view/view-source.js';
import type { ChainLedger, ChainReading } from './chain-ledger.js';
import { DamageAssessment } from './damage-assessment.js';
import { isConflict } from './maintain-chain.js';
import type { Damage, ScrubLedger, Verification } from './scrub-ledger.js';
import { objectsOf, ObjectVerifier, type Fault, type ScrubObject } from './scrub-objects.js';
import { listUnpinned, unpinnedKindOf } from './unpinned-objects.js';

export interface ScrubOptions {
  /** So that each object is read once within 30 days, whatever holds a worker up: with `chainEveryMs` on top it stays below. */
  readonly objectEveryMs: number;
  /** How soon a chain has its next turn where nothing is due: at least weekly something of each is read. */
  readonly chainEveryMs: number;
  /** Of what is not due yet, the oldest: at least so many objects in a turn. */
  readonly sampleCount: number;
  /** What one turn reads; the next goes on. */
  readonly turnBytes: number;
  readonly turnObjects: number;
}

export const SCRUB_OPTIONS: ScrubOptions = {
  objectEveryMs: 23 * DAY_MS,
  chainEveryMs: 6 * DAY_MS,
  sampleCount: 32,
  turnBytes: GIB,
  turnObjects: 2_000,
};

/** Where a turn may be ended: something was read and not noted; damage is in quarantine; an index is done without, and its object still there. */
export const SCRUB_CRASH_POINTS = ['object-verified', 'damage-noted', 'index-dropped'] as const;
export type ScrubCrashPoint = (typeof SCRUB_CRASH_POINTS)[number];

export interface Scrub {
  readonly ledger: ChainLedger;
  readonly scrubs: ScrubLedger;
  /** Whoever calls may have throttled it. */
  readonly store: ObjectStore;
  readonly address: ChainAddress;
  readonly options: ScrubOptions;
  readonly crashPoints?: CrashPoints;
  readonly signal: AbortSignal;
}

export interface ScrubResult {
  readonly verifiedObjects: number;
  readonly verifiedBytes: number;
  /** Objects in quarantine, those found in this turn included. */
  readonly damagedObjects: number;
  /** Which were damaged, and are only built again. */
  readonly droppedIndexes: number;
  readonly healedObjects: number;
  /** False when more is due than one turn reads. */
  readonly isDone: boolean;
}

const AT_ONCE = 2;
const NOTED_AT_ONCE = 64;

/**
 * One turn of a chain's scrub: reads what was read longest ago, whole, and compares it with the hashes that refer to it. No key is needed. What is not what it must
 * be goes into quarantine with the kept positions that show it; a damaged index is dropped and built anew. What is in quarantine is looked at in each turn: it may be
 * sound again, or nothing may show it any more.
 *
 * May end anywhere: what was verified is noted as it goes. Whatever is found is read twice, and must still stand, before anybody is told.
 */
export async function scrubChain(scrub: Scrub): Promise<ScrubResult> {
  const { ledger, address, store, signal } = scrub;
  const reading = await ledger.read(address);
  const source = { store, names: new ObjectNames(address.tenantId, address.chainId), signal };
  return new ScrubTurn(scrub, reading, source, objectsOf(reading, source, await unpinnedOf(scrub, source))).run();
}

/** What is there now, and what has to be: one that is gone is found by its absence. */
async function unpinnedOf({ scrubs, address }: Scrub, source: ChainStore): Promise<string[]> {
  return [...(await scrubs.unpinned(address)), ...(await listUnpinned(source, address))];
}

class ScrubTurn {
  readonly #verifier: ObjectVerifier;
  readonly #assessment: DamageAssessment;
  readonly #sum = { verifiedObjects: 0, verifiedBytes: 0, damagedObjects: 0, droppedIndexes: 0, healedObjects: 0 };
  #noting: Verification[] = [];

  constructor(
    private readonly scrub: Scrub,
    private readonly reading: ChainReading,
    private readonly source: ChainStore,
    private readonly objects: ReadonlyMap<string, ScrubObject>,
  ) {
    this.#verifier = new ObjectVerifier(source, scrub.address);
    this.#assessment = new DamageAssessment({ ...scrub, reading, objects, verifier: this.#verifier });
  }

  async run(): Promise<ScrubResult> {
    const { scrubs, address, options, signal } = this.scrub;
    const damages = await scrubs.damages(address);
    await this.#revisit(damages);
    const broken = new Set(damages.map((damage) => this.#holderOf(damage)?.name));
    const limits = { everyMs: options.objectEveryMs, limit: options.turnObjects + broken.size };
    const oldest = (await scrubs.due(address, [...this.objects.keys()], limits)).filter(({ name }) => !broken.has(name));
    const due = oldest.filter(({ isDue }, index) => isDue || index < options.sampleCount);
    let begun = 0;
    const within = function* (sum: { readonly verifiedBytes: number }): Generator<(typeof due)[number]> {
      for (const one of due) {
        if (sum.verifiedBytes >= options.turnBytes) return;
        begun += 1;
        yield one;
      }
    };
    const verify = async ({ name, sha256 }: Verification): Promise<void> => {
      signal.throwIfAborted();
      await this.#verify(this.objects.get(name)!, sha256);
    };
    for await (const _ of readAhead(within(this.#sum), AT_ONCE - 1, verify)) if (this.#noting.length >= NOTED_AT_ONCE) await this.#note();
    await this.#note();
    return { ...this.#sum, isDone: begun === due.length && due.length < options.turnObjects };
  }

  async #verify(object: ScrubObject, known: string | null): Promise<void> {
    let found = await this.#verifier.verify(object, known);
    // What came wrong over the wire once is not damaged.
    if (found.faults.length > 0) found = await this.#verifier.verify(object, known);
    if (found.faults.length > 0) {
      if (await this.#stillStands(object)) for (const fault of found.faults) await this.#quarantine(object, fault);
      return;
    }
    this.#sum.verifiedObjects += 1;
    if (object.kind === 'segment') this.#sum.verifiedBytes += object.segment.sizeBytes;
    this.#noting.push(found.verified);
    this.#crash('object-verified');
  }

  #crash(point: ScrubCrashPoint): void {
    (this.scrub.crashPoints ?? new NoCrashPoints()).reached(point);
  }

  async #note(): Promise<void> {
    const noting = this.#noting;
    this.#noting = [];
    if (noting.length > 0) await this.scrub.scrubs.recordVerified(this.scrub.address, noting);
  }

  async #quarantine(object: ScrubObject, fault: Fault): Promise<void> {
    if (object.kind === 'index') return this.#dropIndex(object);
    const { scrubs, address } = this.scrub;
    await scrubs.recordDamage(address, { ...fault, ...(await this.#assessment.of(object, fault)) });
    this.#sum.damagedObjects += 1;
    this.#crash('damage-noted');
  }

  /** Nothing is lost with it: points open without. It goes at once, so that the same can be written again under its name. */
  async #dropIndex({ name, of }: ScrubObject & { readonly kind: 'index' }): Promise<void> {
    const { ledger, store, address } = this.scrub;
    const dropIndexes = of.map(({ sha256 }) => sha256);
    try {
      await ledger.changeIndexes(address, { revision: this.reading.revision, addIndexes: [], dropIndexes, writtenBytes: 0 });
    } catch (error) {
      if (isConflict(error)) return;
      throw error;
    }
    this.#crash('index-dropped');
    await store.delete(this.source.names.at(name));
    this.#sum.droppedIndexes += 1;
  }

  /** What is in quarantine already: sound again, not referred to any more, or else to whom it matters by now. */
  async #revisit(damages: readonly Damage[]): Promise<void> {
    const { scrubs, address } = this.scrub;
    for (const damage of damages) {
      const object = this.#holderOf(damage);
      const fault =
        object === undefined
          ? undefined
          : (await this.#verifier.verify(object, await this.#knownOf(object))).faults.find(({ name }) => name === damage.name);
      if (object === undefined || fault === undefined) {
        await scrubs.endDamage(address, damage.name);
        this.#sum.healedObjects += 1;
        continue;
      }
      await scrubs.recordDamage(address, { ...fault, ...(await this.#assessment.of(object, fault)) });
      this.#sum.damagedObjects += 1;
    }
  }

  /** The object in whose verification a damage shows: for a list, its layer's manifest. */
  #holderOf({ name, layer }: Damage): ScrubObject | undefined {
    const own = this.objects.get(name);
    if (own !== undefined || layer === null) return own;
    for (const object of this.objects.values()) if (object.kind === 'manifest' && object.layer.ref.cycle === layer) return object;
    return undefined;
  }

  async #knownOf(object: ScrubObject): Promise<string | null> {
    if (unpinnedKindOf(object.name) === undefined) return null;
    const { scrubs, address } = this.scrub;
    const known = await scrubs.due(address, [...this.objects.keys()], { everyMs: 0, limit: this.objects.size });
    return known.find(({ name }) => name === object.name)?.sha256 ?? null;
  }

  async #stillStands(object: ScrubObject): Promise<boolean> {
    const now = await this.scrub.ledger.read(this.scrub.address);
    return objectsOf(now, this.source, await unpinnedOf(this.scrub, this.source)).has(object.name);
  }
}

/**
 * Of these positions of a lineage, those that are damaged. One that came after a damage was looked at is damaged as the position it stands on: what a
 * position does not show, nothing above it does.
 */
export function damagedPositions(
  damages: readonly Pick<Damage, 'positions' | 'assessedTo'>[],
  lineage: ReadonlyMap<bigint, bigint | null>,
  positions: Iterable<bigint>,
): Set<bigint> {
  const damaged = new Set<bigint>();
  const sets = damages.map(({ positions: known, assessedTo }) => ({ known: new Set(known), assessedTo }));
  for (const position of positions) {
    for (const { known, assessedTo } of sets) {
      let at: bigint | null = position;
      while (at !== null && at > assessedTo) at = lineage.get(at) ?? null;
      if (at !== null && known.has(at)) damaged.add(position);
    }
  }
  return damaged;
}
