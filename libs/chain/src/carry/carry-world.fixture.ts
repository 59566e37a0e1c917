import { expect } from 'vitest';
import { type BranchId, newId } from '#libs/kernel';
import {
  MemoryObjectStore,
  type ObjectBody,
  type ObjectStore,
  putBytes,
  type PutOptions,
  type PutOutcome,
  WrappedObjectStore,
} from '#libs/object-store';
import { MaintainedChain } from '../../../../test/support/maintained-chain.js';
import { BLOCK_BYTES } from '../limits.js';
import { collect } from '../maintenance/collect.js';
import { stampStore } from '../maintenance/store-stamp.js';
import { encodeFence } from '../manifest/fence.js';
import { readChainFromStore } from '../rebuild/read-chain.js';
import type { RecoveredChain } from '../rebuild/recovered-chain.js';
import { carryChain, type CarryStanding } from './carry-chain.js';

const BLOCKS = 8;
const INSTALLATION = { id: '01890000-0000-7000-8000-000000000001', incarnation: 1 };
const GRACE_MS = 86_400_000;
const LIMITS = { graceMs: GRACE_MS, windowMs: 3_600_000, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 10_000 };

/** A chain with all that happens to one, and a third site. */
export class World {
  readonly chain = new MaintainedChain({ blocks: BLOCKS });
  readonly site = new MemoryObjectStore();
  /** What each point held, also those that are no more. */
  readonly history = new Map<bigint, Buffer>();
  carriedTo: bigint | null = null;

  get store(): ObjectStore {
    return this.chain.store;
  }

  async start(): Promise<this> {
    await this.chain.create();
    await stampStore(this.store, INSTALLATION);
    return this;
  }

  async commit(seed: number, isPoint: boolean): Promise<void> {
    this.chain.write(seed * 7_919, (1 + (seed % 3)) * BLOCK_BYTES, seed % 6);
    const { ref } = await this.chain.commit(isPoint ? 'point' : 'staging');
    if (isPoint) this.history.set(ref.cycle, Buffer.from(this.chain.disk));
  }

  async deletePoint(pick: number): Promise<void> {
    const kept = [...this.chain.kept.keys()];
    const id = kept[pick % kept.length];
    if (id !== undefined) await this.chain.deletePoint(id);
  }

  async collect(rounds = 3, upkeep = this.chain.upkeep()): Promise<void> {
    const { address, signal, store, ledger } = upkeep;
    for (let round = 0; round < rounds; round += 1) {
      await collect({ ledger, store, address, signal, installation: INSTALLATION, limits: LIMITS });
      this.chain.clock.nowMs += GRACE_MS + 1;
    }
  }

  async failOver(pick: number): Promise<void> {
    const kept = [...this.chain.kept.values()];
    const from = kept[pick % kept.length];
    if (from === undefined) return;
    const before = await this.chain.catalogue.chain(this.chain.address);
    await this.chain.branch(from);
    const { chainId, epoch, branchId } = await this.chain.catalogue.chain(this.chain.address);
    const left = { branchId: before.branchId, head: before.head };
    await putBytes(
      this.store,
      this.chain.names.fence(epoch),
      encodeFence({ chainId, epoch, branchId, frozenPoint: from.point.ref, left }).bytes,
    );
  }

  /** Of a failover at the third site, that the source knows nothing of. */
  async failOverThere(): Promise<void> {
    const { names, address, kept } = this.chain;
    const frozenPoint = [...kept.values()][0]!.point.ref;
    const [epoch, branchId] = [{ incarnation: 2, counter: 2 }, newId<BranchId>()];
    await putBytes(
      this.site,
      names.fence(epoch),
      encodeFence({ chainId: address.chainId, epoch, branchId, frozenPoint, left: null }).bytes,
    );
  }

  async carry(parts: { store?: ObjectStore; site?: ObjectStore; turnsMax?: number } = {}): Promise<CarryStanding & { isDone: boolean }> {
    const { address, ledger } = this.chain;
    let turns = 0;
    return carryChain({
      address,
      ledger,
      store: parts.store ?? this.store,
      copy: parts.site ?? this.site,
      incarnation: 1,
      carriedTo: this.carriedTo,
      isOver: () => (turns += 1) > (parts.turnsMax ?? Infinity),
      onStanding: ({ carriedTo }) => (this.carriedTo = carriedTo?.cycle ?? null),
      signal: new AbortController().signal,
    });
  }

  /** What the third site tells: whole, and each point as the disk was. */
  async check(): Promise<RecoveredChain> {
    const found = await readChainFromStore(this.site, this.chain.address);
    expect(found.leftOut.filter(({ name }) => name.startsWith('m/'))).toEqual([]);
    const entries = new Map(found.segments.map((entry) => [entry.sha256, entry]));
    const replacements = found.replacements.map(({ segment, by }) => ({ segment, cycle: 0n, by: by.map((each) => entries.get(each)!) }));
    for (const { ref, isPoint } of found.manifests) {
      if (!isPoint) continue;
      const disk = this.history.get(ref.cycle)!;
      const view = await this.chain.open({ root: ref, indexes: [], layers: [], replacements, expiresAt: null }, this.site);
      expect((await view.read(0, 0, disk.length)).equals(disk), `point ${ref.sequence} at the third site`).toBe(true);
      view.close();
    }
    return found;
  }

  /** Once all is carried, the copy has every kept point, and knows the roles. */
  async checkWhole(): Promise<void> {
    const { isDone, pendingBytes, pendingManifests } = await this.carry();
    expect({ isDone, pendingBytes, pendingManifests }).toEqual({ isDone: true, pendingBytes: 0, pendingManifests: 0 });
    const found = await this.check();
    const points = new Set(found.manifests.filter(({ isPoint }) => isPoint).map(({ ref }) => ref.cycle));
    for (const { point } of this.chain.kept.values())
      expect(points.has(point.ref.cycle), `point ${point.ref.sequence} is carried`).toBe(true);
    const { epoch, branchId, head } = await this.chain.catalogue.chain(this.chain.address);
    if (head !== null) expect([found.epoch, found.branchId]).toEqual([epoch, branchId]);
  }
}

/** Lets a scheduler decide whose call is next. */
export class ScheduledStore extends WrappedObjectStore {
  constructor(
    inner: ObjectStore,
    private readonly turn: (label: string) => Promise<unknown>,
  ) {
    super(inner);
  }

  override async put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    await this.turn('put');
    return super.put(key, body, options);
  }

  override async get(...args: Parameters<ObjectStore['get']>): Promise<Buffer> {
    await this.turn('get');
    return super.get(...args);
  }
}
