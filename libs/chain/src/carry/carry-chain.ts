import { PlatformError } from '#libs/kernel';
import { putBytes, type ObjectStore } from '#libs/object-store';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { decodeTenantKeyRecord, tenantKeyRecordsOf } from '../keys/tenant-key-record.js';
import { decodeWrappedKey } from '../keys/wrapped-key.js';
import type { ChainLedger, ChainReading } from '../maintenance/chain-ledger.js';
import { nameOfSegment, nameOfSnapshot } from '../maintenance/names.js';
import { decodeSnapshot } from '../maintenance/snapshot-codec.js';
import { decodeFence } from '../manifest/fence.js';
import { decodeListPage, type ListEntry } from '../manifest/list-page.js';
import { decodeManifest } from '../manifest/manifest-codec.js';
import type { ManifestRef } from '../manifest/manifest.js';
import { ObjectNames } from '../object-names.js';
import { decodeRelationshipRecord } from '../rebuild/relationship-record.js';
import { readAhead } from '../view/read-ahead.js';
import { copyDamaged, failedOver, sourceDamaged } from './carry-errors.js';
import { lookAtCopy } from './look-at-copy.js';
import { neededOf, SourceObjects } from './source-objects.js';

/** How far a chain has been carried. */
export interface CarryStanding {
  /** Of the positions that somebody may read, and all below them: every one up to here is at the third site, whole. */
  readonly carriedTo: ManifestRef | null;
  readonly pendingManifests: number;
  /** Of the segments that those stand on, as far as nobody has looked whether they are there. */
  readonly pendingBytes: number;
  readonly carriedObjects: number;
  readonly carriedBytes: number;
  /** All was gone through; what could not be mended of it is thrown all the same. */
  readonly isThrough: boolean;
}

export interface Carry {
  readonly ledger: Pick<ChainLedger, 'read'>;
  /** Where the chain is. Whoever calls may have throttled it. */
  readonly store: ObjectStore;
  /** The third site. */
  readonly copy: ObjectStore;
  readonly address: ChainAddress;
  /** The source's: a fence of an incarnation above it is not of the source. */
  readonly incarnation: number;
  /** The cycle up to which an earlier turn has carried everything; null looks, by names and sizes, at all that should be there, and puts again what is not. */
  readonly carriedTo: bigint | null;
  /** Asked between objects: others have their turn, and the next one stands on what holds then. */
  readonly isOver: () => boolean;
  /** After each manifest, and in the end: what holds whatever comes. */
  readonly onStanding?: (standing: CarryStanding) => void;
  readonly signal: AbortSignal;
}

/** Segments of at most 16 MiB in memory at once. */
const AT_ONCE = 4;
/** More names than these are looked up by a listing. */
const HEADS_MAX = 256;

/**
 * Carries a chain on to a third site, as it stands: the same names, the same bytes, without a key. In this order: whose it is, and keys; what compaction made, and the snapshot
 * that tells what stands in the place of what; each manifest after its parent, its segments and its lists; fences last. So whatever is seen there is whole
 * at every instant, and a reader of the copy alone finds what it would have found at the source.
 *
 * Only what was acknowledged and what kept positions lead to is carried. May end anywhere and run twice at once: objects are put under their own names, and
 * what is there in the right size is not sent again. Nothing is ever deleted at the third site.
 *
 * `maintenance.conflict` when what was read was replaced and collected meanwhile: the next turn goes on with what took its place. `carry.source-damaged` and
 * `carry.copy-damaged` name the object; of what was carried by an earlier turn only when all else is carried. `carry.failed-over` when the chain was failed over at the third
 * site, whose history gets no manifest after its fence is seen. Says whether all was carried that stood when the turn began.
 */
export async function carryChain(carry: Carry): Promise<CarryStanding & { readonly isDone: boolean }> {
  const turn = new CarryTurn(carry, await carry.ledger.read(carry.address));
  const isDone = await turn.run();
  return { ...turn.standing, isDone };
}

class CarryTurn {
  readonly #names: ObjectNames;
  readonly #source: SourceObjects;
  /** Needed manifests by cycle, parents first. */
  readonly #needed: readonly ManifestRef[];
  readonly #replaced: ReadonlySet<string>;
  readonly #bytesOf = new Map<bigint, number>();
  /** How many of the needed ones are there, from the first on. */
  #carried = 0;
  #pendingBytes = 0;
  #carriedObjects = 0;
  #carriedBytes = 0;
  /** Sizes at the third site of segments of this turn; null where single ones are asked for. */
  #there: Map<string, number> | null = null;
  /** The first that was found of what earlier turns carried. */
  #fault: PlatformError | null = null;
  #isThrough = false;

  constructor(
    private readonly carry: Carry,
    private readonly reading: ChainReading,
  ) {
    this.#names = new ObjectNames(carry.address.tenantId, carry.address.chainId);
    this.#source = new SourceObjects(carry, reading);
    this.#needed = neededOf(reading);
    this.#replaced = new Set(reading.replacements.map(({ segment }) => segment));
    for (const { cycle, sizeBytes } of reading.segments)
      if (cycle !== null) this.#bytesOf.set(cycle, (this.#bytesOf.get(cycle) ?? 0) + sizeBytes);
  }

  get standing(): CarryStanding {
    return {
      carriedTo: this.#needed[this.#carried - 1] ?? null,
      pendingManifests: this.#needed.length - this.#carried,
      pendingBytes: this.#pendingBytes,
      carriedObjects: this.#carriedObjects,
      carriedBytes: this.#carriedBytes,
      isThrough: this.#isThrough,
    };
  }

  async run(): Promise<boolean> {
    await this.#requireNoFailover();
    await this.#look();
    await this.#carryTenantKeys();
    await this.#carryNamed(`${this.#names.prefix}r/`, (bytes) => decodeRelationshipRecord(bytes, this.carry.address));
    await this.#carryNamed(this.#names.wrappedKeys, (bytes) => decodeWrappedKey(bytes, this.carry.address));
    if (!(await this.#carrySnapshot())) return false;
    while (this.#carried < this.#needed.length) {
      if (this.carry.isOver() || !(await this.#carryLayer(this.#needed[this.#carried]!))) return false;
      this.#carried += 1;
      this.#tell();
    }
    await this.#requireNoFailover();
    await this.#carryNamed(`${this.#names.prefix}f/`, (bytes) => decodeFence(bytes, this.carry.address));
    // Last: what cannot be filled keeps nothing new from being carried, and lists of layers that were to be carried are none that were taken.
    if (!(await this.#fillGaps())) return false;
    this.#isThrough = true;
    this.#tell();
    if (this.#fault !== null) throw this.#fault;
    return true;
  }

  /**
   * A fence of an incarnation above the source's is of a failover at the third site: the chain goes on there, and what is written here since is another history.
   * Any other that the source lacks is its own, and was lost here: the scrub brings it back. Asked again before whatever changes what the copy shows, since a turn
   * is long.
   */
  async #requireNoFailover(): Promise<void> {
    const { store, copy } = this.carry;
    const prefix = `${this.#names.prefix}f/`;
    const foreign = new Set<string>();
    for await (const { key } of copy.list(prefix)) foreign.add(key);
    // In this order: one that another turn carries meanwhile is at the source by then.
    for await (const { key } of store.list(prefix)) foreign.delete(key);
    const names = [...foreign].map((key) => key.slice(this.#names.prefix.length));
    for (const name of names) if (incarnationOf(name) > this.carry.incarnation) throw failedOver(name);
    for (const name of names) throw sourceDamaged(name);
  }

  /** Which manifests are there: those up to where an earlier turn came are, and of the rest those in a row. */
  async #look(): Promise<void> {
    const { carriedTo } = this.carry;
    const isKnown = ({ cycle }: ManifestRef): boolean => carriedTo !== null && cycle <= carriedTo;
    const last = this.#needed.findLast(isKnown);
    // A site that was emptied does not have the last one either.
    const isStill = last !== undefined && (await this.#isThere(this.#names.manifest(last).slice(this.#names.prefix.length)));
    const known = isStill ? this.#needed.filter(isKnown).length : 0;
    const rest = this.#needed.slice(known);
    const keys = rest.map((ref) => this.#names.manifest(ref));
    const there = await this.#sizesOf(new Set(keys), `${this.#names.prefix}m/`);
    const first = keys.findIndex((key) => !there.has(key));
    // One that stands behind a gap is put once more, which finds it there.
    this.#carried = first < 0 ? this.#needed.length : known + first;
    for (const { cycle } of this.#needed.slice(this.#carried)) this.#pendingBytes += this.#bytesOf.get(cycle) ?? 0;
    this.#tell();
  }

  /** False when the turn ended. The newest document of a snapshot comes last: where it is, all is there that it names. */
  async #carrySnapshot(): Promise<boolean> {
    const { snapshot } = this.reading;
    if (snapshot === null) return true;
    if (await this.#isThere(nameOfSnapshot(snapshot))) {
      if (this.carry.carriedTo === null) await this.#tolerate(() => this.#carryDocuments(snapshot));
      return true;
    }
    const compacted = this.reading.segments.filter(({ cycle }) => cycle === null);
    for (const { sizeBytes } of compacted) this.#pendingBytes += sizeBytes;
    if (!(await this.#carrySegments(compacted, null))) return false;
    await this.#carryDocuments(snapshot);
    return true;
  }

  /** A snapshot's newest document and those that it follows, the newest last. */
  async #carryDocuments(newest: { readonly sequence: number; readonly sha256: string }): Promise<void> {
    const documents: string[] = [];
    for (let next: { sequence: number; sha256: string } | null = newest; next !== null;) {
      const name = nameOfSnapshot(next);
      const isThere = await this.#isThere(name);
      // Below one that is there all were, once.
      if (isThere && this.carry.carriedTo !== null) break;
      if (!isThere) documents.unshift(name);
      const { previous } = decodeSnapshot(await this.#source.fetch(name, next.sha256, null), this.carry.address);
      next = previous === null ? null : { sequence: next.sequence - 1, sha256: previous };
    }
    if (documents.length > 0) await this.#requireNoFailover();
    for (const name of documents) await this.#put(name, await this.#source.fetch(name, name.slice(-64), null));
  }

  /**
   * Where all is looked at: what an operator, a rule of the bucket or a disk took at the third site of what was carried is put there again. What cannot be, since it
   * is damaged here or there, keeps nothing else from being carried. False when the turn ended in between.
   */
  async #fillGaps(): Promise<boolean> {
    const { carriedTo, store, copy, isOver } = this.carry;
    if (carriedTo !== null) return true;
    const cycles = new Set<bigint | null>(this.#needed.map(({ cycle }) => cycle)).add(null);
    const should = this.reading.segments.filter(({ cycle }) => cycles.has(cycle));
    const { segments, lists, otherSize } = await lookAtCopy(store, copy, this.#names, should);
    for (const { sizeBytes } of segments) this.#pendingBytes += sizeBytes;
    for (const segment of segments) {
      if (isOver()) return false;
      const name = nameOfSegment(segment.sha256);
      await this.#tolerate(async () => this.#put(name, await this.#source.fetch(name, segment.sha256, segment.cycle)));
      this.#pendingBytes -= segment.sizeBytes;
    }
    // One of a cycle that is being committed, or that nothing needs any more, is put as well: nothing refers to it there.
    for (const name of lists) {
      if (isOver()) return false;
      await this.#tolerate(async () => {
        const bytes = await this.#source.fetchStanding(name, name.slice(-64));
        if (bytes !== null) await this.#put(name, bytes);
      });
    }
    for (const name of otherSize) await this.#tolerate(() => this.#source.requireSound(name));
    return true;
  }

  async #tolerate(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof PlatformError && error.kind === 'corrupt')) throw error;
      this.#fault ??= error;
    }
  }

  /** False when the turn ended before the manifest was put. */
  async #carryLayer(ref: ManifestRef): Promise<boolean> {
    const name = this.#names.manifest(ref).slice(this.#names.prefix.length);
    const bytes = await this.#source.fetch(name, ref.sha256, ref.cycle);
    const { lists } = decodeManifest(bytes, this.carry.address);
    for (const { sha256 } of lists) {
      const page = await this.#source.fetch(`l/${sha256}`, sha256, ref.cycle);
      const { entries } = decodeListPage(page, this.carry.address);
      const standing = entries.filter((entry) => !this.#replaced.has(entry.sha256));
      if (!(await this.#carrySegments(standing, ref.cycle))) return false;
      await this.#put(`l/${sha256}`, page);
    }
    await this.#requireNoFailover();
    await this.#put(name, bytes);
    return true;
  }

  /** False when the turn ended in between. */
  async #carrySegments(segments: readonly ListEntry[], layer: bigint | null): Promise<boolean> {
    const { carry } = this;
    if (segments.length > HEADS_MAX && this.#there === null) {
      const wanted = new Set(this.reading.segments.map(({ sha256 }) => this.#names.segment(sha256)));
      this.#there = await this.#sizesOf(wanted, `${this.#names.prefix}s/`, 0);
    }
    const carryOne = async ({ sha256, sizeBytes }: ListEntry): Promise<number> => {
      const name = nameOfSegment(sha256);
      const found = this.#there === null ? ((await this.#head(name)) ?? undefined) : this.#there.get(this.#names.segment(sha256));
      if (found !== undefined && found !== sizeBytes) throw copyDamaged(name);
      if (found === undefined) await this.#put(name, await this.#source.fetch(name, sha256, layer));
      return sizeBytes;
    };
    let begun = 0;
    const within = function* (): Generator<ListEntry> {
      for (const segment of segments) {
        if (carry.isOver()) return;
        begun += 1;
        yield segment;
      }
    };
    for await (const sizeBytes of readAhead(within(), AT_ONCE - 1, carryOne)) this.#pendingBytes -= sizeBytes;
    return begun === segments.length;
  }

  /** What stands under a prefix at the source and not at the third site. These have no hash that refers to them: each must at least be what it should be. */
  async #carryNamed(prefix: string, decode: (bytes: Buffer) => unknown): Promise<void> {
    const there = new Set<string>();
    for await (const { key } of this.carry.copy.list(prefix)) there.add(key);
    for await (const { key } of this.carry.store.list(prefix)) {
      if (there.has(key)) continue;
      const name = key.slice(this.#names.prefix.length);
      const bytes = await this.#source.fetch(name, null, null);
      try {
        decode(bytes);
      } catch (error) {
        throw sourceDamaged(name, error);
      }
      await this.#put(name, bytes);
    }
  }

  /** Beside the chain, and needed to have opened there what is wrapped. */
  async #carryTenantKeys(): Promise<void> {
    const { store, copy, address, signal } = this.carry;
    const prefix = tenantKeyRecordsOf(address.tenantId);
    const there = new Set<string>();
    for await (const { key } of copy.list(prefix)) there.add(key);
    for await (const { key } of store.list(prefix)) {
      if (there.has(key)) continue;
      const bytes = await store.get(key, undefined, signal);
      try {
        decodeTenantKeyRecord(bytes, address);
      } catch (error) {
        throw sourceDamaged(key, error);
      }
      await putBytes(copy, key, bytes, signal);
    }
  }

  async #put(name: string, bytes: Buffer): Promise<void> {
    const { created } = await putBytes(this.carry.copy, this.#names.prefix + name, bytes, this.carry.signal).catch((error: unknown) => {
      throw error instanceof PlatformError && error.code === 'object.conflict' ? copyDamaged(name, error) : error;
    });
    if (!created) return;
    this.#carriedObjects += 1;
    this.#carriedBytes += bytes.length;
  }

  async #head(name: string): Promise<number | null> {
    this.carry.signal.throwIfAborted();
    return (await this.carry.copy.head(this.#names.prefix + name))?.sizeBytes ?? null;
  }

  async #isThere(name: string): Promise<boolean> {
    return (await this.#head(name)) !== null;
  }

  /** Of these keys, those that are there: asked one by one, or by one listing where they are many. */
  async #sizesOf(keys: ReadonlySet<string>, prefix: string, headsMax = HEADS_MAX): Promise<Map<string, number>> {
    const { copy } = this.carry;
    const sizes = new Map<string, number>();
    if (keys.size > headsMax) {
      for await (const { key, sizeBytes } of copy.list(prefix)) if (keys.has(key)) sizes.set(key, sizeBytes);
      return sizes;
    }
    const ask = async (key: string): Promise<[string, number | undefined]> => [key, (await copy.head(key))?.sizeBytes];
    for await (const [key, size] of readAhead(keys, AT_ONCE - 1, ask)) if (size !== undefined) sizes.set(key, size);
    return sizes;
  }

  #tell(): void {
    this.carry.onStanding?.(this.standing);
  }
}

/** Of a fence, by its name. */
function incarnationOf(name: string): number {
  return Number(name.slice('f/'.length).split('-')[0]);
}
