import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemoryObjectStore, putBytes } from '#libs/object-store';
import { ManualClock, MaintainedChain } from '../../../../test/support/maintained-chain.js';
import { count } from '../../../../test/support/counts.js';
import { MemoryReplicaCatalogue } from '../catalogue/memory-replica-catalogue.js';
import type { CommitCycle, CommittedPoint } from '../catalogue/replica-catalogue.js';
import { BLOCK_BYTES } from '../limits.js';
import { collect } from '../maintenance/collect.js';
import { maintainChain } from '../maintenance/maintain-chain.js';
import { MemoryChainLedger } from '../maintenance/memory-chain-ledger.js';
import { stampStore } from '../maintenance/store-stamp.js';
import { MAINTENANCE_CRASH_POINTS } from '../maintenance/upkeep.js';
import { encodeFence } from '../manifest/fence.js';
import { findChains } from './chain-objects.js';
import { readChainFromStore } from './read-chain.js';
import type { RecoveredChain } from './recovered-chain.js';

const RUNS = count(40, 3_000);
const BLOCKS = 8;
const INSTALLATION = { id: '01890000-0000-7000-8000-000000000001', incarnation: 1 };
const GRACE_MS = 86_400_000;
const LIMITS = { graceMs: GRACE_MS, windowMs: 3_600_000, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 10_000 };

class Crash extends Error {}

/** Ends before the transaction that acknowledges: the manifest is bound and in the store by then. */
class CrashingCatalogue extends MemoryReplicaCatalogue {
  isCrashing = false;

  override commit(request: CommitCycle): Promise<CommittedPoint> {
    return this.isCrashing ? Promise.reject(new Crash()) : super.commit(request);
  }
}

/** A chain whose writer, worker and roles do what they do, and end anywhere. */
class World {
  readonly clock = new ManualClock();
  readonly catalogue = new CrashingCatalogue(this.clock, { leaseTtlMs: 1e12 });
  readonly ledger = new MemoryChainLedger(this.catalogue, this.clock);
  readonly chain = new MaintainedChain({ store: new MemoryObjectStore(), catalogue: this.catalogue, ledger: this.ledger, blocks: BLOCKS });
  /** Cycles of those who wrote on after they had lost the role. */
  readonly zombies = new Set<bigint>();
  isSnapshotFresh = false;

  get store() {
    return this.chain.store;
  }

  async start(): Promise<this> {
    await this.chain.create();
    await stampStore(this.store, INSTALLATION);
    return this;
  }

  async commit(seed: number, isPoint: boolean): Promise<void> {
    this.chain.write(seed * 7_919, (1 + (seed % 3)) * BLOCK_BYTES, seed % 6);
    await this.chain.commit(isPoint ? 'point' : 'staging');
    this.isSnapshotFresh = false;
  }

  /** The manifest is durable, and the process ends before the database knows. */
  async commitAndCrash(seed: number): Promise<void> {
    this.catalogue.isCrashing = true;
    await expect(this.commit(seed, true)).rejects.toThrow(Crash);
    this.catalogue.isCrashing = false;
  }

  async maintain(crashAt: number): Promise<void> {
    const point = MAINTENANCE_CRASH_POINTS[crashAt];
    const crashPoints = {
      reached: (reached: string): void => {
        if (reached === point) throw new Crash();
      },
    };
    const done = maintainChain(this.chain.upkeep({}, crashPoints as never));
    await done.then(
      () => (this.isSnapshotFresh = true),
      (error: unknown) => {
        if (!(error instanceof Crash)) throw error;
      },
    );
  }

  async collect(): Promise<void> {
    const { address, signal } = this.chain.upkeep();
    for (let round = 0; round < 3; round += 1) {
      await collect({ ledger: this.ledger, store: this.store, address, signal, installation: INSTALLATION, limits: LIMITS });
      this.clock.nowMs += GRACE_MS + 1;
    }
  }

  /** A failover to a kept point, while the old writer's last cycle is still on its way. */
  async failOver(pick: number, seed: number): Promise<void> {
    const kept = [...this.chain.kept.values()];
    const from = kept[pick % kept.length];
    if (from === undefined) return;
    const before = await this.catalogue.chain(this.chain.address);
    await this.commitAndCrash(seed);
    for await (const { key } of this.store.list(this.chain.names.manifestsOf(before.branchId))) {
      const cycle = BigInt(`0x${key.slice(-16)}`);
      if (cycle > (before.head?.cycle ?? 0n)) this.zombies.add(cycle);
    }
    await this.chain.branch(from);
    const { chainId, epoch, branchId } = await this.catalogue.chain(this.chain.address);
    const left = { branchId: before.branchId, head: before.head };
    const { bytes } = encodeFence({ chainId, epoch, branchId, frozenPoint: from.point.ref, left });
    await putBytes(this.store, this.chain.names.fence(epoch), bytes);
    this.isSnapshotFresh = false;
  }

  async deletePoint(pick: number): Promise<void> {
    const kept = [...this.chain.kept.keys()];
    const id = kept[pick % kept.length];
    if (id !== undefined) await this.chain.deletePoint(id);
    this.isSnapshotFresh = false;
  }

  async wrongPoints(found: RecoveredChain): Promise<string[]> {
    const wrong: string[] = [];
    const byCycle = new Map(found.manifests.map((each) => [each.ref.cycle, each]));
    const entries = new Map(found.segments.map((entry) => [entry.sha256, entry]));
    for (const { point, disk } of this.chain.kept.values()) {
      const recovered = byCycle.get(point.ref.cycle);
      if (recovered?.isPoint !== true) {
        wrong.push(`${point.ref.sequence} is not a point: ${JSON.stringify(found.leftOut)}`);
        continue;
      }
      expect(recovered.ref).toEqual(point.ref);
      const replacements = found.replacements.map(({ segment, by }) => {
        return { segment, cycle: 0n, by: by.map((sha256) => entries.get(sha256)!) };
      });
      const view = await this.chain.open({ root: recovered.ref, indexes: [], layers: [], replacements, expiresAt: null });
      if (!(await view.read(0, 0, disk.length)).equals(disk)) wrong.push(`${point.ref.sequence} holds other bytes`);
      view.close();
    }
    return wrong;
  }
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('commit' as const), seed: fc.nat(500), isPoint: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const), seed: fc.nat(500) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('delete' as const), pick: fc.nat(50) }) },
  // Beyond the last crash point: to its end.
  { weight: 3, arbitrary: fc.record({ do: fc.constant('maintain' as const), crashAt: fc.nat(2 * MAINTENANCE_CRASH_POINTS.length) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('collect' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fail-over' as const), pick: fc.nat(50), seed: fc.nat(500) }) },
);

describe('a chain read from the store alone', () => {
  it('has every acknowledged point, and nothing of those who had lost the role', { timeout: 600_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 24 }), async (steps) => {
        const world = await new World().start();
        for (const each of steps) {
          if (each.do === 'commit') await world.commit(each.seed, each.isPoint);
          else if (each.do === 'crash') await world.commitAndCrash(each.seed);
          else if (each.do === 'delete') await world.deletePoint(each.pick);
          else if (each.do === 'maintain') await world.maintain(each.crashAt);
          else if (each.do === 'collect') await world.collect();
          else await world.failOver(each.pick, each.seed);
        }
        const { chain, catalogue, zombies } = world;
        const found = await readChainFromStore(world.store, chain.address);
        expect(await world.wrongPoints(found)).toEqual([]);

        const state = await catalogue.chain(chain.address);
        const acknowledged = new Map((await catalogue.listPoints(chain.address)).map(({ ref }) => [ref.cycle, ref]));
        const unacknowledged = found.manifests.filter(({ ref }) => !acknowledged.has(ref.cycle));
        // At most the attempt under way: a later one of its place, or a fence, shuts every other out.
        expect(unacknowledged.length).toBeLessThanOrEqual(1);
        for (const { ref } of unacknowledged) {
          expect(zombies.has(ref.cycle)).toBe(false);
          expect(ref).toMatchObject({ branchId: state.branchId, sequence: (state.head?.sequence ?? -1) + 1 });
        }
        if (state.head !== null) {
          const branch = found.branches.find(({ branchId }) => branchId === state.branchId)!;
          expect([state.head.cycle, ...unacknowledged.map(({ ref }) => ref.cycle)]).toContain(branch.head!.cycle);
          expect([found.epoch, found.branchId]).toEqual([state.epoch, state.branchId]);
        }
        if (world.isSnapshotFresh) {
          const reading = await world.ledger.read(chain.address);
          const points = found.manifests.filter(({ isPoint, ref }) => isPoint && acknowledged.has(ref.cycle));
          for (const { ref } of points) expect(reading.kept.has(ref.cycle), 'a removed point').toBe(true);
        }
        for await (const address of findChains(world.store)) expect(address).toEqual(chain.address);
      }),
      { numRuns: RUNS },
    );
  });

  it('has every point also where a compaction ended right after its switch, and what it dissolved is collected', async () => {
    const world = await new World().start();
    for (const seed of [3, 8, 13, 18, 23, 28, 33]) await world.commit(seed, true);
    for (let count = 0; count < 5; count += 1) await world.deletePoint(0);
    const before = (await world.chain.objects('s/')).count;
    await world.maintain(MAINTENANCE_CRASH_POINTS.indexOf('segments-switched'));
    await world.collect();
    expect((await world.chain.objects('s/')).count).toBeLessThan(before);
    expect(await world.wrongPoints(await readChainFromStore(world.store, world.chain.address))).toEqual([]);
  });

  it('tells damage and leaves out what stands on it', async () => {
    const world = await new World().start();
    for (const seed of [11, 22, 33]) await world.commit(seed, true);
    const [first, second, third] = [...world.chain.kept.values()].map(({ point }) => point.ref);
    const { names } = world.chain;
    const whole = await readChainFromStore(world.store, world.chain.address);
    await world.store.delete(names.segment(whole.manifests[1]!.segments[0]!.sha256));
    const found = await readChainFromStore(world.store, world.chain.address);
    expect(found.manifests.map(({ ref }) => ref)).toEqual([first]);
    const nameOf = (ref: typeof first): string => names.manifest(ref!).slice(names.prefix.length);
    expect(found.leftOut).toMatchObject([
      { name: nameOf(second), reason: 'incomplete' },
      { name: nameOf(third), reason: 'parent-missing' },
    ]);
    await world.store.delete(names.manifest(first!));
    await putBytes(world.store, names.manifest(first!), Buffer.from('{}\n\n'));
    const nothing = await readChainFromStore(world.store, world.chain.address);
    expect(nothing).toMatchObject({ manifests: [], branchId: null, leftOutCount: 3 });
    expect(nothing.leftOut[0]).toMatchObject({ reason: 'unreadable', detail: 'manifest.malformed' });
  });
});
