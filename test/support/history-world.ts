import { expect } from 'vitest';
import {
  collect,
  maintainChain,
  MemoryScrubLedger,
  SCRUB_OPTIONS,
  scrubChain,
  stampStore,
  type ChainView,
  type ResolvedView,
} from '#libs/chain';
import { CrashPoints, DAY_MS, MINUTE_MS, newId, NoCrashPoints, PlatformError } from '#libs/kernel';
import { FaultyObjectStore, type ObjectStore } from '#libs/object-store';
import { planRetention } from '#libs/replication';
import { expectSameDisk, imageOf, isDifferencing, type ImageKind } from './disk-exports.js';
import { MaintainedChain, type Kept } from './maintained-chain.js';

const BLOCK_BYTES = 65_536;
const INSTALLATION = { id: '01890000-0000-7000-8000-000000000001', incarnation: 1 };
const LIMITS = { graceMs: DAY_MS, windowMs: 3_600_000, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 10_000 };

/** Somebody who opened a point and takes his time: a VM, an export. */
interface Reader {
  readonly kept: Kept;
  readonly view: ChainView;
  readonly lease: ResolvedView & { readonly id: string };
}

/** The process is gone: nothing after it happens. */
class Crash extends Error {}

class CrashAt extends CrashPoints {
  constructor(private left: number) {
    super();
  }

  override reached(point: string): void {
    this.left -= 1;
    if (this.left < 0) throw new Crash(point);
  }
}

/** Whether a step did anything, or found nothing to do: no dead bytes, no index, no older point. */
export type Took = boolean;

/** What ends a step: at the n-th call of the store before or after it took place, or at the n-th named place. */
export interface Ending {
  readonly how: 'unavailable' | 'answer-lost' | 'crash';
  readonly after: number;
}

/**
 * A chain and everybody who has to do with it, each doing one thing after another as a test says, beside plain buffers that say what each point has to hold. Whatever
 * is done, and wherever it ends, every kept point and every view that somebody has open reads as its buffer.
 */
export class HistoryWorld {
  readonly chain: MaintainedChain;
  readonly #pinned = new Set<string>();
  readonly #readers: Reader[] = [];
  readonly #scrubs: MemoryScrubLedger;
  /** Of all that the maintenance of this chain did. */
  compactions = 0;
  #crashes = 0;

  constructor(readonly blocks: number) {
    this.chain = new MaintainedChain({ blocks });
    this.#scrubs = new MemoryScrubLedger(this.chain.clock);
  }

  async start(): Promise<this> {
    await this.chain.create();
    await stampStore(this.chain.store, INSTALLATION);
    this.chain.write(0, this.blocks * BLOCK_BYTES, 3);
    await this.chain.commit();
    return this;
  }

  /** A cycle that ends early is sent anew, whole. */
  async commit(kind: 'point' | 'staging', ending: Ending | null): Promise<Took> {
    await this.#until(ending, (store, crashPoints) => this.chain.commit(kind, store, undefined, crashPoints));
    this.chain.clock.nowMs += 17 * MINUTE_MS;
    return true;
  }

  async branch(pick: number): Promise<Took> {
    const kept = this.#kept(pick);
    if (kept !== undefined) await this.chain.branch(kept);
    return kept !== undefined;
  }

  pin(pick: number): Took {
    const id = this.#kept(pick)?.point.id;
    if (id !== undefined && !this.#pinned.delete(id)) this.#pinned.add(id);
    return id !== undefined;
  }

  resize(blocks: number): Took {
    const before = this.chain.disk.length;
    this.chain.resize(blocks);
    return this.chain.disk.length !== before;
  }

  /** The process that does it is gone at the n-th named place, and another one does it whole. */
  async crash(work: 'commit' | 'maintain' | 'collect', after: number): Promise<Took> {
    const before = this.#crashes;
    const ending: Ending = { how: 'crash', after };
    await (work === 'commit' ? this.commit('point', ending) : this[work](ending));
    return this.#crashes > before;
  }

  /** By the plan alone: what is pinned stays. */
  async retain(hours: number): Promise<Took> {
    const { chain } = this;
    const points = [...chain.kept.values()].map(({ point: { id, ref, committedAt, consistency } }) => ({
      id,
      branchId: ref.branchId,
      cycle: ref.cycle,
      committedAt,
      consistency,
      immutableUntil: null,
      isPinned: this.#pinned.has(id),
      // A leased view needs no row: its position stays without.
      holds: [],
    }));
    const retention = { applicationConsistentEveryHours: null, tiers: [], minimumAgeMinutes: 0, immutableHours: 0 };
    const plan = planRetention(points, { recoveryHistoryHours: hours, retention }, chain.clock.now());
    for (const { point, isKept } of plan) {
      if (isKept) continue;
      expect(this.#pinned.has(point.id), 'a pinned point is removed').toBe(false);
      await chain.deletePoint(point.id);
    }
    return plan.some(({ isKept }) => !isKept);
  }

  async maintain(ending: Ending | null): Promise<Took> {
    const { builtIndexes, compactions } = await this.#until(ending, (store, crashPoints) =>
      maintainChain(this.chain.upkeep({ store }, crashPoints)),
    );
    this.compactions += compactions;
    return builtIndexes + compactions > 0;
  }

  async collect(ending: Ending | null): Promise<Took> {
    const { ledger, address, signal } = this.chain.upkeep();
    const { deletedObjects } = await this.#until(ending, (store, crashPoints) =>
      collect({ store, ledger, address, signal, installation: INSTALLATION, limits: LIMITS, crashPoints }),
    );
    this.chain.clock.nowMs += DAY_MS;
    return deletedObjects > 0;
  }

  /** Nothing but a lost index is damaged, so nothing may be found. */
  async scrub(): Promise<Took> {
    const { ledger, address, signal, store } = this.chain.upkeep();
    const options = { ...SCRUB_OPTIONS, objectEveryMs: 0 };
    const result = await scrubChain({ ledger, scrubs: this.#scrubs, store, address, options, signal });
    expect(result).toMatchObject({ damagedObjects: 0 });
    return true;
  }

  /** Indexes are disposable: what is lost of them nobody may miss. */
  async loseIndex(pick: number): Promise<Took> {
    const { indexes } = await this.chain.ledger.read(this.chain.address);
    const lost = indexes[pick % Math.max(1, indexes.length)];
    for (const name of lost === undefined ? [] : [lost.sha256, ...lost.parts]) await this.chain.store.delete(this.chain.names.index(name));
    return lost !== undefined;
  }

  async open(pick: number): Promise<Took> {
    const kept = this.#kept(pick);
    if (kept === undefined || this.#readers.length >= 3) return false;
    const lease = await this.chain.lease(kept.point, null);
    this.#readers.push({ kept, lease, view: await this.chain.open(lease) });
    return true;
  }

  /** Of a view that may be old by now. */
  async read(pick: number, at: number, length: number): Promise<Took> {
    const { kept, view } = await this.#reader(pick);
    const { disk } = kept;
    const from = at % disk.length;
    const bytes = Math.min(length, disk.length - from);
    const isSame = (await view.read(0, from, bytes)).equals(disk.subarray(from, from + bytes));
    expect(isSame, `${bytes} bytes at ${from} of an old view`).toBe(true);
    return true;
  }

  async close(pick: number): Promise<Took> {
    const [reader] = this.#readers.splice(pick % Math.max(1, this.#readers.length), 1);
    if (reader === undefined) return false;
    reader.view.close();
    await this.chain.ledger.releaseLease(this.chain.address, reader.lease.id);
    return true;
  }

  /** An open view as a file of another world, read back by its reader. */
  async export(pick: number, kind: ImageKind): Promise<Took> {
    const { kept, view } = await this.#reader(pick);
    await expectSameDisk(await imageOf(kind, view.disk(0)), kept.disk);
    return true;
  }

  /** A point as a file over that of an older point of its path. */
  async exportOver(pick: number, kind: ImageKind): Promise<Took> {
    const pair = await this.#pair(pick);
    if (pair === undefined) return false;
    const { address, ledger, keys, store } = this.chain;
    const [to, from] = pair.map(({ point }) => point.ref) as [Kept['point']['ref'], Kept['point']['ref']];
    const id = newId();
    const lease = await ledger.leaseView({ ...address, id, root: to, base: from, holder: 'an export', ttlMs: null });
    const leases = await Promise.all(pair.map(({ point }) => this.chain.lease(point, null)));
    const [view, parent] = await Promise.all(leases.map((one) => this.chain.open(one)));
    const replacements = new Map(lease.replacements.map(({ segment, by }) => [segment, by]));
    const changes = { ...address, store, keys, from, to, indexes: lease.indexes, replacements };
    await expectSameDisk(await imageOf(kind, view!.disk(0), { disk: parent!.disk(0), changes }), pair[0].disk);
    for (const one of [view!, parent!]) one.close();
    for (const one of [id, ...leases.map((each) => each.id)]) await ledger.releaseLease(address, one);
    return true;
  }

  /** The content of a file of another world becomes the disk's, and a point. */
  async import(kind: ImageKind, content: Buffer, child: Buffer): Promise<Took> {
    const { chain } = this;
    const source = inMemory(content);
    const image = isDifferencing(kind)
      ? await imageOf(kind, inMemory(child), { disk: source, changes: null })
      : await imageOf(kind, source);
    const disk = await image.open();
    chain.resize(disk.sizeBytes / BLOCK_BYTES);
    chain.put(0, Buffer.alloc(disk.sizeBytes));
    for (const { offset, length, zero } of await disk.extents(0, disk.sizeBytes)) {
      if (!zero) chain.put(offset, await disk.read(offset, length));
    }
    expect(chain.disk.equals(isDifferencing(kind) ? child : content), `an imported ${kind}`).toBe(true);
    return this.commit('point', null);
  }

  async expectAllKept(): Promise<void> {
    expect((await this.chain.wrongPoints()).map(({ ref }) => ref.sequence)).toEqual([]);
  }

  /** When everybody has gone and upkeep has come to its end, nothing dead is left. */
  async settle(): Promise<void> {
    for (const { kept, view } of this.#readers) {
      expect((await view.read(0, 0, kept.disk.length)).equals(kept.disk), 'an old view').toBe(true);
    }
    while (this.#readers.length > 0) await this.close(0);
    for (let round = 0; round < 4; round += 1) {
      await this.maintain(null);
      await this.collect(null);
    }
    await this.scrub();
    await this.expectAllKept();
    const { segments, writtenBytes, ingestedBytes } = await this.chain.ledger.read(this.chain.address);
    expect((await this.chain.objects('s/')).count).toBe(segments.length);
    expect(writtenBytes).toBeLessThanOrEqual(ingestedBytes + 64 * 1024);
  }

  #kept(pick: number): Kept | undefined {
    return [...this.chain.kept.values()][pick % Math.max(1, this.chain.kept.size)];
  }

  /** One that somebody has open, or a fresh one. */
  async #reader(pick: number): Promise<Reader> {
    if (this.#readers.length === 0) await this.open(pick);
    return this.#readers[pick % this.#readers.length]!;
  }

  /** A kept point and one below it, if there are any. */
  async #pair(pick: number): Promise<[Kept, Kept] | undefined> {
    for (let next = 0; next < this.chain.kept.size; next += 1) {
      const kept = this.#kept(pick + next)!;
      const base = await this.#ancestorOf(kept);
      if (base !== undefined) return [kept, base];
    }
    return undefined;
  }

  /** The nearest kept point below on its path, of the same size. */
  async #ancestorOf({ point, disk }: Kept): Promise<Kept | undefined> {
    const { lineage } = await this.chain.ledger.read(this.chain.address);
    const parents = new Map(lineage.map(({ ref, parent }) => [ref.cycle, parent?.cycle ?? null]));
    const kept = new Map([...this.chain.kept.values()].map((one) => [one.point.ref.cycle, one]));
    for (let at = parents.get(point.ref.cycle) ?? null; at !== null; at = parents.get(at) ?? null) {
      const found = kept.get(at);
      if (found?.disk.length === disk.length) return found;
    }
    return undefined;
  }

  /** Does it, and again whole where it was ended. */
  async #until<T>(ending: Ending | null, work: (store: ObjectStore, crashPoints: CrashPoints) => Promise<T>): Promise<T> {
    const { store } = this.chain;
    if (ending !== null) {
      const { how, after } = ending;
      const failing = how === 'crash' ? store : new FaultyObjectStore(store, [{ call: after + 1, fault: how }]);
      try {
        return await work(failing, how === 'crash' ? new CrashAt(after) : new NoCrashPoints());
      } catch (error) {
        if (!(error instanceof Crash || error instanceof PlatformError)) throw error;
        if (error instanceof Crash) this.#crashes += 1;
        await this.expectAllKept();
      }
    }
    return work(store, new NoCrashPoints());
  }
}

function inMemory(bytes: Buffer) {
  return {
    sizeBytes: bytes.length,
    read: async (offset: number, length: number) => bytes.subarray(offset, offset + length),
    extents: async (offset: number, length: number) => [{ offset, length, zero: false }],
  };
}
