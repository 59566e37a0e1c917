import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  WrappedObjectStore,
  type ByteRange,
  type ObjectBody,
  type ObjectStore,
  type PutOptions,
  type PutOutcome,
} from '#libs/object-store';
import { buildIndex } from '../indexes/build-index.js';
import { BLOCK_BYTES } from '../limits.js';
import { MaintainedChain } from '../../../../test/support/maintained-chain.js';
import { count } from '../../../../test/support/counts.js';
import { takeCensus } from './census.js';
import type { ChainLedger, ResolvedView } from './chain-ledger.js';
import { collect } from './collect.js';
import { compact } from './compact.js';
import { isConflict, isNameTaken } from './maintenance-errors.js';
import { pathOf } from './resolve-view.js';
import { stampStore } from './store-stamp.js';
import { HeldObjectStore, replacementsOf, type Upkeep } from './upkeep.js';

/** The seed of a failure is printed. */
const RUNS = count(20, 2_000);
const INSTALLATION = { id: '01890000-0000-7000-8000-000000000001', incarnation: 1 };
const GRACE_MS = 86_400_000;
const LIMITS = { graceMs: GRACE_MS, windowMs: 3_600_000, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 10_000 };
const BLOCKS = 8;

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

  override async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    await this.turn('get');
    return super.get(key, range, signal);
  }

  override async delete(key: string): Promise<void> {
    await this.turn('delete');
    return super.delete(key);
  }
}

/** Every method of the ledger waits for its turn. */
function scheduledLedger(ledger: ChainLedger, turn: (label: string) => Promise<unknown>): ChainLedger {
  return new Proxy(ledger, {
    get(target, name, receiver) {
      const method: unknown = Reflect.get(target, name, receiver);
      if (typeof method !== 'function') return method;
      return async (...args: unknown[]) => {
        await turn(String(name));
        return (method as (...all: unknown[]) => unknown).apply(target, args);
      };
    },
  });
}

const write = fc.record({
  at: fc.nat({ max: BLOCKS * BLOCK_BYTES }),
  length: fc.integer({ min: 1, max: 3 * BLOCK_BYTES }),
  seed: fc.nat({ max: 5 }),
});
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('commit' as const), writes: fc.array(write, { maxLength: 4 }), isPoint: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('delete' as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('branch' as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('resize' as const), blocks: fc.integer({ min: 1, max: BLOCKS }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('index' as const), pick: fc.nat(), below: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('read' as const), pick: fc.nat() }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

const isNothingWrong = (error: unknown): boolean => isConflict(error) || isNameTaken(error);

/** Reads a point slowly, by a view that grows old. */
async function readSlowly(chain: MaintainedChain, store: ObjectStore, disk: Buffer, lease: ResolvedView & { id: string }): Promise<void> {
  const view = await chain.open(lease, store);
  for (let at = 0; at < disk.length; at += BLOCK_BYTES) {
    const found = await view.read(0, at, BLOCK_BYTES);
    expect(found.equals(disk.subarray(at, at + BLOCK_BYTES)), `block ${at / BLOCK_BYTES} of an old view`).toBe(true);
  }
  view.close();
  await chain.ledger.releaseLease(chain.address, lease.id);
}

/** Indexes any stretch of the path of any manifest. */
async function indexSomething(upkeep: Upkeep, pick: number, below: number): Promise<void> {
  const { ledger, address, options, signal } = upkeep;
  const reading = await ledger.read(address);
  if (reading.lineage.length === 0) return;
  const { ref } = reading.lineage[pick % reading.lineage.length]!;
  const path = pathOf(reading.lineage, ref);
  const store = new HeldObjectStore(upkeep);
  const known = { head: path[0]!, below: path[1 + (below % path.length)] ?? null, known: path, replacements: replacementsOf(reading) };
  const { cacheBytes } = options;
  const built = await buildIndex({
    ...address,
    ...known,
    store,
    indexes: reading.indexes.filter(({ lastCycle }) => path.some(({ cycle }) => cycle === lastCycle)),
    cacheBytes,
    signal,
  });
  if (reading.indexes.some(({ sha256 }) => sha256 === built.sha256)) return;
  await ledger.changeIndexes(address, {
    revision: reading.revision,
    addIndexes: [built],
    dropIndexes: [],
    writtenBytes: store.writtenBytes,
  });
}

async function take(one: Step, chain: MaintainedChain, upkeep: Upkeep, readers: Promise<void>[]): Promise<void> {
  if (one.do === 'commit') {
    for (const { at, length, seed } of one.writes) chain.write(at, length, seed);
    await chain.commit(one.isPoint ? 'point' : 'staging');
    return;
  }
  if (one.do === 'resize') return chain.resize(one.blocks);
  if (one.do === 'index') {
    await indexSomething(upkeep, one.pick, one.below).catch((error: unknown) => {
      if (!isNothingWrong(error)) throw error;
    });
    return;
  }
  const kept = [...chain.kept.values()][one.pick % Math.max(1, chain.kept.size)];
  if (kept === undefined) return;
  if (one.do === 'branch') await chain.branch(kept);
  else if (one.do === 'delete') await chain.deletePoint(kept.point.id);
  else if (readers.length < 3) readers.push(watched(readSlowly(chain, upkeep.store, kept.disk, await chain.lease(kept.point, null))));
}

/** Awaited in the end; till then a failure must not count as unhandled. */
function watched(reading: Promise<void>): Promise<void> {
  reading.catch(() => {});
  return reading;
}

async function compactOften(upkeep: Upkeep, times: number): Promise<void> {
  for (let time = 0; time < times; time += 1) {
    try {
      await compact(upkeep, await takeCensus(upkeep));
    } catch (error) {
      if (!isNothingWrong(error)) throw error;
    }
  }
}

const collectOnce = ({ store, ledger, address, signal }: Upkeep): Promise<unknown> =>
  collect({ store, ledger, address, signal, installation: INSTALLATION, limits: LIMITS });

/** Compacts until nothing is worth it, and collects until nothing is left to delete. */
async function settle(chain: MaintainedChain): Promise<void> {
  const upkeep = chain.upkeep();
  let steps = 0;
  // It comes to an end: each step leaves less to do.
  while ((await compact(upkeep, await takeCensus(upkeep))) !== null) expect((steps += 1)).toBeLessThan(30);
  for (let round = 0; round < 3; round += 1) {
    await collectOnce(upkeep);
    chain.clock.nowMs += GRACE_MS;
  }
}

/** What holds whatever runs at once. */
const property = () =>
  fc.asyncProperty(fc.scheduler(), fc.array(step, { minLength: 4, maxLength: 24 }), async (scheduler, steps) => {
    const chain = await new MaintainedChain({ blocks: BLOCKS }).create();
    await stampStore(chain.store, INSTALLATION);
    chain.write(0, BLOCKS * BLOCK_BYTES, 3);
    await chain.commit();
    const turn = (label: string): Promise<string> => scheduler.schedule(Promise.resolve(label), label);
    const upkeep = chain.upkeep({ store: new ScheduledStore(chain.store, turn), ledger: scheduledLedger(chain.ledger, turn) });
    const collecting = async (): Promise<void> => {
      for (let round = 0; round < 4; round += 1) {
        await collectOnce(upkeep);
        chain.clock.nowMs += GRACE_MS;
      }
    };
    const writing = async (): Promise<void> => {
      const readers: Promise<void>[] = [];
      for (const one of steps) {
        await turn('writer');
        await take(one, chain, upkeep, readers);
      }
      await Promise.all(readers);
    };
    await scheduler.waitFor(Promise.all([writing(), compactOften(upkeep, 3), compactOften(upkeep, 3), collecting()]));
    expect((await chain.wrongPoints()).map(({ ref }) => ref.sequence)).toEqual([]);
    await settle(chain);
    expect((await chain.wrongPoints()).map(({ ref }) => ref.sequence)).toEqual([]);
    const { segments, writtenBytes, ingestedBytes } = await chain.ledger.read(chain.address);
    expect((await chain.objects('s/')).count).toBe(segments.length);
    expect(writtenBytes).toBeLessThanOrEqual(ingestedBytes + 64 * 1024);
  });

describe('maintenance beside writers and readers', () => {
  it('changes no kept point, breaks no leased view, and leaves nothing dead behind', async () => {
    await fc.assert(property(), { numRuns: RUNS, endOnFailure: true });
  });
});
