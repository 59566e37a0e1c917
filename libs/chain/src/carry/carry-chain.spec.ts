import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BranchId, newId, PlatformError } from '#libs/kernel';
import {
  FaultyObjectStore,
  type Fault,
  MemoryObjectStore,
  type ObjectBody,
  type ObjectStore,
  putBytes,
  type PutOptions,
  type PutOutcome,
  WrappedObjectStore,
} from '#libs/object-store';
import { count } from '../../../../test/support/counts.js';
import { MaintainedChain } from '../../../../test/support/maintained-chain.js';
import { wrapKey } from '../keys/wrapped-key.js';
import { BLOCK_BYTES } from '../limits.js';
import { collect } from '../maintenance/collect.js';
import { maintainChain } from '../maintenance/maintain-chain.js';
import { isConflict } from '../maintenance/maintenance-errors.js';
import { stampStore } from '../maintenance/store-stamp.js';
import { encodeFence } from '../manifest/fence.js';
import { readChainFromStore } from '../rebuild/read-chain.js';
import type { RecoveredChain } from '../rebuild/recovered-chain.js';
import { carryChain, type CarryStanding } from './carry-chain.js';

const RUNS = count(30, 2_000);
const BLOCKS = 8;
const INSTALLATION = { id: '01890000-0000-7000-8000-000000000001', incarnation: 1 };
const GRACE_MS = 86_400_000;
const LIMITS = { graceMs: GRACE_MS, windowMs: 3_600_000, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 10_000 };

/** A chain with all that happens to one, and a third site. */
class World {
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

  async carry(parts: { store?: ObjectStore; site?: ObjectStore; turnsMax?: number } = {}): Promise<CarryStanding & { isDone: boolean }> {
    const { address, ledger } = this.chain;
    let turns = 0;
    return carryChain({
      address,
      ledger,
      store: parts.store ?? this.store,
      copy: parts.site ?? this.site,
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

const faults: Fault[] = ['unavailable', 'answer-lost'];
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('commit' as const), seed: fc.nat(500), isPoint: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('delete' as const), pick: fc.nat(50) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('maintain' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('collect' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fail-over' as const), pick: fc.nat(50) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('carry' as const),
      call: fc.integer({ min: 1, max: 60 }),
      fault: fc.constantFrom(...faults),
      turnsMax: fc.option(fc.nat(12), { nil: Infinity }),
      isNear: fc.boolean(),
    }),
  },
);

const isUnavailable = (error: unknown): boolean => error instanceof PlatformError && error.code === 'object.store-unavailable';

/** Lets a scheduler decide whose call is next. */
class ScheduledStore extends WrappedObjectStore {
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

describe('a chain that is carried on to a third site', () => {
  it('is whole there at every instant, and has every kept point in the end', { timeout: 600_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 30 }), async (steps) => {
        const world = await new World().start();
        for (const each of steps) {
          if (each.do === 'commit') await world.commit(each.seed, each.isPoint);
          else if (each.do === 'delete') await world.deletePoint(each.pick);
          else if (each.do === 'maintain') await maintainChain(world.chain.upkeep());
          else if (each.do === 'collect') await world.collect();
          else if (each.do === 'fail-over') await world.failOver(each.pick);
          else {
            const failing = (inner: ObjectStore): ObjectStore => new FaultyObjectStore(inner, [{ call: each.call, fault: each.fault }]);
            const parts = each.isNear ? { store: failing(world.store) } : { site: failing(world.site) };
            await world.carry({ ...parts, turnsMax: each.turnsMax }).catch((error: unknown) => {
              if (!isUnavailable(error)) throw error;
            });
            await world.check();
          }
        }
        await world.checkWhole();
        // What the database noted may be lost, or may be older than the site.
        world.carriedTo = null;
        const { carriedObjects } = await world.carry();
        expect(carriedObjects).toBe(0);
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
  });

  it('comes whole also when two carry it while it is written, compacted and collected', { timeout: 600_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.array(fc.nat(500), { minLength: 3, maxLength: 10 }), async (scheduler, seeds) => {
        const world = await new World().start();
        await world.commit(1, true);
        const turn = (label: string): Promise<string> => scheduler.schedule(Promise.resolve(label), label);
        const upkeep = world.chain.upkeep({ store: new ScheduledStore(world.store, turn) });
        const carrying = async (): Promise<void> => {
          for (let round = 0; round < 4; round += 1) {
            const parts = { store: new ScheduledStore(world.store, turn), site: new ScheduledStore(world.site, turn) };
            await world.carry(parts).catch((error: unknown) => {
              if (!isConflict(error)) throw error;
            });
            await world.check();
          }
        };
        const writing = async (): Promise<void> => {
          for (const [index, seed] of seeds.entries()) {
            await turn('writer');
            await world.commit(seed, seed % 4 > 0);
            if (index % 2 === 1) await world.deletePoint(seed);
          }
        };
        const maintaining = async (): Promise<void> => {
          for (let round = 0; round < 3; round += 1) {
            await turn('maintenance');
            await maintainChain(upkeep);
            await world.collect(1, upkeep);
          }
        };
        await scheduler.waitFor(Promise.all([carrying(), carrying(), writing(), maintaining()]));
        world.carriedTo = null;
        await world.checkWhole();
      }),
      { numRuns: count(6, 500), endOnFailure: true },
    );
  });

  it('goes on after a failure of any call at either store, and sends nothing twice', async () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 3072 });
    const writer = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const world = await new World().start();
    const { chainId } = world.chain.address;
    const keys = { recipientKey: publicKey, writerKey: writer.privateKey };
    const { bytes, object } = wrapKey({ chainId, generation: 1, kind: 'data', key: Buffer.alloc(32, 7), ...keys });
    const wrappedKey = world.chain.names.wrappedKey(object);
    await putBytes(world.store, wrappedKey, bytes);
    for (const seed of [11, 22, 33, 44]) await world.commit(seed, true);
    await world.deletePoint(1);
    await maintainChain(world.chain.upkeep());
    await world.failOver(0);
    await world.commit(55, true);
    for (const isNear of [true, false]) {
      for (let call = 1; ; call += 1) {
        world.carriedTo = null;
        const site = new MemoryObjectStore();
        const failing = (inner: ObjectStore): ObjectStore => new FaultyObjectStore(inner, [{ call, fault: 'answer-lost' }]);
        Object.assign(world, { site });
        const parts = isNear ? { store: failing(world.store) } : { site: failing(site) };
        const failed = await world.carry(parts).then(
          () => false,
          (error: unknown) => isUnavailable(error),
        );
        await world.check();
        await world.checkWhole();
        if (!failed) break;
        expect(call).toBeLessThan(200);
      }
    }
    const objects = async (store: ObjectStore): Promise<string[]> => {
      const names: string[] = [];
      for await (const { key: name } of store.list(world.chain.names.prefix)) if (!name.includes('/x/')) names.push(name);
      return names;
    };
    const there = await objects(world.site);
    expect(await objects(world.store)).toEqual(expect.arrayContaining(there));
    expect(there).toContain(wrappedKey);
  });

  it('ends where the chain was failed over at the third site', async () => {
    const world = await new World().start();
    await world.commit(11, true);
    await world.carry();
    const { names, address, kept } = world.chain;
    const epoch = { incarnation: 2, counter: 2 };
    const frozenPoint = [...kept.values()][0]!.point.ref;
    const branchId = newId<BranchId>();
    await putBytes(
      world.site,
      names.fence(epoch),
      encodeFence({ chainId: address.chainId, epoch, branchId, frozenPoint, left: null }).bytes,
    );
    await world.commit(22, true);
    await expect(world.carry()).rejects.toMatchObject({ code: 'carry.failed-over' });
    expect((await world.check()).manifests).toHaveLength(1);
  });

  it('ends in the midst of a turn where the chain is failed over at the third site meanwhile', async () => {
    const world = await new World().start();
    await world.commit(11, true);
    await world.carry();
    await world.commit(22, true);
    const { names, address, kept } = world.chain;
    const frozenPoint = [...kept.values()][0]!.point.ref;
    const [epoch, branchId] = [{ incarnation: 2, counter: 2 }, newId<BranchId>()];
    const fence = encodeFence({ chainId: address.chainId, epoch, branchId, frozenPoint, left: null }).bytes;
    const site = new ScheduledStore(world.site, async () => putBytes(world.site, names.fence(epoch), fence));
    await expect(world.carry({ site })).rejects.toMatchObject({ code: 'carry.failed-over' });
    expect((await world.check()).manifests).toHaveLength(1);
  });

  it('puts again whatever was taken at the third site, the next time that all is looked at', async () => {
    const world = await new World().start();
    for (let seed = 1; seed <= 10; seed += 1) await world.commit(seed, true);
    for (let pick = 0; pick < 6; pick += 1) await world.deletePoint(0);
    await maintainChain(world.chain.upkeep());
    await world.failOver(0);
    await world.commit(55, true);
    await world.commit(66, true);
    await world.carry();
    const { prefix } = world.chain.names;
    const named = async (part: string): Promise<string[]> => {
      const names: string[] = [];
      for await (const { key } of world.site.list(prefix + part)) names.push(key);
      return names;
    };
    const all = await named('');
    expect((await world.chain.ledger.read(world.chain.address)).segments.some(({ cycle }) => cycle === null)).toBe(true);
    for (const part of ['f/', 'l/', 'm/', 's/', 'v/']) expect((await named(part)).length, part).toBeGreaterThan(0);
    for (const name of all) {
      await world.site.delete(name);
      world.carriedTo = null;
      expect(await world.carry(), name).toMatchObject({ isDone: true, pendingBytes: 0 });
      expect(await named('')).toEqual(all);
    }
    for (const part of ['s/', 'l/']) for (const name of await named(part)) await world.site.delete(name);
    for (let [turn, isDone] = [0, false]; !isDone; turn += 1) {
      expect(turn).toBeLessThan(50);
      world.carriedTo = null;
      ({ isDone } = await world.carry({ turnsMax: 3 }));
    }
    expect(await named('')).toEqual(all);
    await world.checkWhole();
  });

  it('tells of another size at the third site, which keeps nothing new from being carried', async () => {
    const world = await new World().start();
    await world.commit(11, true);
    await world.carry();
    const { segments } = await world.chain.ledger.read(world.chain.address);
    const name = world.chain.names.segment(segments[0]!.sha256);
    const bytes = await world.site.get(name);
    await world.site.delete(name);
    await putBytes(world.site, name, bytes.subarray(1));
    await world.commit(22, true);
    world.carriedTo = null;
    await expect(world.carry()).rejects.toMatchObject({ code: 'carry.copy-damaged', details: { object: `s/${segments[0]!.sha256}` } });
    expect(world.carriedTo).toBe([...world.chain.kept.values()].at(-1)!.point.ref.cycle);
    await world.site.delete(name);
    world.carriedTo = null;
    await world.checkWhole();
  });

  it('carries nothing that is damaged, and says what', async () => {
    const world = await new World().start();
    await world.commit(11, true);
    await world.carry();
    await world.commit(22, true);
    const { segments } = await world.chain.ledger.read(world.chain.address);
    const name = world.chain.names.segment(segments.at(-1)!.sha256);
    const bytes = await world.store.get(name);
    await world.store.delete(name);
    const before = world.carriedTo;
    const refused = { code: 'carry.source-damaged', details: { object: name.slice(world.chain.names.prefix.length) } };
    await expect(world.carry()).rejects.toMatchObject(refused);
    bytes[100]! ^= 1;
    await putBytes(world.store, name, bytes);
    await expect(world.carry()).rejects.toMatchObject(refused);
    expect(world.carriedTo).toBe(before);
    await world.check();
    bytes[100]! ^= 1;
    await world.store.delete(name);
    await putBytes(world.store, name, bytes);
    await putBytes(world.site, name, Buffer.from('something else'));
    await expect(world.carry()).rejects.toMatchObject({ code: 'carry.copy-damaged' });
    await world.site.delete(name);
    await world.checkWhole();
  });
});
