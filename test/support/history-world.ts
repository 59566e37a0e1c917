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
  async commit(kind: 'point' | 'staging', ending: Ending | null): Promise<void> {
    await this.#until(ending, (store) => this.chain.commit(kind, store).then(() => undefined));
    this.chain.clock.nowMs += 17 * MINUTE_MS;
  }

  async branch(pick: number): Promise<void> {
    const kept = this.#kept(pick);
    if (kept !== undefined) await this.chain.branch(kept);
  }

  pin(pick: number): void {
    const id = this.#kept(pick)?.point.id;
    if (id !== undefined && !this.#pinned.delete(id)) this.#pinned.add(id);
  }

  /** By the plan alone: what is pinned stays. */
  async retain(hours: number): Promise<void> {
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
  }

  async maintain(ending: Ending | null): Promise<void> {
    await this.#until(ending, async (store, crashPoints) => void (await maintainChain(this.chain.upkeep({ store }, crashPoints))));
  }

  async collect(ending: Ending | null): Promise<void> {
    const { ledger, address, signal } = this.chain.upkeep();
    await this.#until(ending, async (store) => {
      await collect({ store, ledger, address, signal, installation: INSTALLATION, limits: LIMITS });
    });
    this.chain.clock.nowMs += DAY_MS;
  }

  /** Nothing but a lost index is damaged, so nothing may be found. */
  async scrub(): Promise<void> {
    const { ledger, address, signal, store } = this.chain.upkeep();
    const options = { ...SCRUB_OPTIONS, objectEveryMs: 0 };
    const result = await scrubChain({ ledger, scrubs: this.#scrubs, store, address, options, signal });
    expect(result).toMatchObject({ damagedObjects: 0 });
  }

  /** Indexes are disposable: what is lost of them nobody may miss. */
  async loseIndex(pick: number): Promise<void> {
    const { indexes } = await this.chain.ledger.read(this.chain.address);
    const lost = indexes[pick % Math.max(1, indexes.length)];
    for (const name of lost === undefined ? [] : [lost.sha256, ...lost.parts]) await this.chain.store.delete(this.chain.names.index(name));
  }

  async open(pick: number): Promise<void> {
    const kept = this.#kept(pick);
    if (kept === undefined || this.#readers.length >= 3) return;
    const lease = await this.chain.lease(kept.point, null);
    this.#readers.push({ kept, lease, view: await this.chain.open(lease) });
  }

  /** Of a view that may be old by now. */
  async read(pick: number, at: number, length: number): Promise<void> {
    const reader = this.#readers[pick % Math.max(1, this.#readers.length)];
    if (reader === undefined) return;
    const { disk } = reader.kept;
    const from = at % disk.length;
    const bytes = Math.min(length, disk.length - from);
    const isSame = (await reader.view.read(0, from, bytes)).equals(disk.subarray(from, from + bytes));
    expect(isSame, `${bytes} bytes at ${from} of an old view`).toBe(true);
  }

  async close(pick: number): Promise<void> {
    const [reader] = this.#readers.splice(pick % Math.max(1, this.#readers.length), 1);
    if (reader === undefined) return;
    reader.view.close();
    await this.chain.ledger.releaseLease(this.chain.address, reader.lease.id);
  }

  /** An open view as a file of another world, read back by its reader; a differencing one over the file of an older point of its path. */
  async export(pick: number, kind: ImageKind): Promise<void> {
    const reader = this.#readers[pick % Math.max(1, this.#readers.length)];
    if (reader === undefined) return;
    const { kept, view } = reader;
    if (!isDifferencing(kind)) return expectSameDisk(await imageOf(kind, view.disk(0)), kept.disk);
    const base = await this.#ancestorOf(kept);
    if (base === undefined) return;
    const { address, ledger, keys, store } = this.chain;
    const id = newId();
    const lease = await ledger.leaseView({ ...address, id, root: kept.point.ref, base: base.point.ref, holder: 'an export', ttlMs: null });
    const parent = await this.chain.lease(base.point, null);
    const parentView = await this.chain.open(parent);
    const replacements = new Map(lease.replacements.map(({ segment, by }) => [segment, by]));
    const changes = { ...address, store, keys, from: base.point.ref, to: kept.point.ref, indexes: lease.indexes, replacements };
    await expectSameDisk(await imageOf(kind, view.disk(0), { disk: parentView.disk(0), changes }), kept.disk);
    parentView.close();
    for (const one of [id, parent.id]) await ledger.releaseLease(address, one);
  }

  /** The content of a file of another world becomes the disk's, and a point. */
  async import(kind: ImageKind, content: Buffer, child: Buffer): Promise<void> {
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
    await this.commit('point', null);
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
  async #until(ending: Ending | null, work: (store: ObjectStore, crashPoints: CrashPoints) => Promise<void>): Promise<void> {
    const { store } = this.chain;
    if (ending !== null) {
      const { how, after } = ending;
      const failing = how === 'crash' ? store : new FaultyObjectStore(store, [{ call: after + 1, fault: how }]);
      try {
        return await work(failing, how === 'crash' ? new CrashAt(after) : new NoCrashPoints());
      } catch (error) {
        if (!(error instanceof Crash || error instanceof PlatformError)) throw error;
        await this.expectAllKept();
      }
    }
    await work(store, new NoCrashPoints());
  }
}

function inMemory(bytes: Buffer) {
  return {
    sizeBytes: bytes.length,
    read: async (offset: number, length: number) => bytes.subarray(offset, offset + length),
    extents: async (offset: number, length: number) => [{ offset, length, zero: false }],
  };
}
