import { describe, expect, it } from 'vitest';
import { CrashPoints, PlatformError } from '#libs/kernel';
import { FaultyObjectStore, MeteredObjectStore, type Fault } from '#libs/object-store';
import { BLOCK_BYTES } from '../limits.js';
import { MaintainedChain } from '../../../../test/support/maintained-chain.js';
import { count } from '../../../../test/support/counts.js';
import { collect } from './collect.js';
import { maintainChain } from './maintain-chain.js';
import { stampStore } from './store-stamp.js';
import { MAINTENANCE_CRASH_POINTS, type Upkeep } from './upkeep.js';

const INSTALLATION = { id: '01890000-0000-7000-8000-000000000001', incarnation: 1 };
const GRACE_MS = 86_400_000;
const LIMITS = { graceMs: GRACE_MS, windowMs: 3_600_000, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 10_000 };
/** In the short run, one call of so many fails; in the long one, each of them. */
const STRIDE = count(9, 1);

/** Segments that are dead, some that partly live, and many small ones. */
async function worn(): Promise<MaintainedChain> {
  const chain = await new MaintainedChain({ blocks: 10 }).create();
  await stampStore(chain.store, INSTALLATION);
  chain.write(0, 10 * BLOCK_BYTES, 3);
  await chain.commit();
  for (let round = 1; round <= 7; round += 1) {
    chain.write((round % 4) * 2 * BLOCK_BYTES, BLOCK_BYTES, round);
    if (round === 4) chain.write(5 * BLOCK_BYTES, BLOCK_BYTES, 0);
    chain.write(9 * BLOCK_BYTES, 5000, round);
    await chain.commit();
  }
  for (const id of [...chain.kept.keys()].slice(0, 6)) await chain.deletePoint(id);
  return chain;
}

async function upkeepOnce(chain: MaintainedChain, upkeep: Upkeep): Promise<void> {
  await maintainChain(upkeep);
  const { ledger, store, address, signal } = upkeep;
  for (let round = 0; round < 2; round += 1) {
    await collect({ ledger, store, address, signal, installation: INSTALLATION, limits: LIMITS });
    chain.clock.nowMs += GRACE_MS;
  }
}

/** After any failure: nothing kept is hurt; the next run goes on, and in the end only what lives is there. */
async function expectRecovery(chain: MaintainedChain, what: string): Promise<void> {
  expect(await chain.wrongPoints(), what).toEqual([]);
  for (let round = 0; round < 3; round += 1) await upkeepOnce(chain, chain.upkeep());
  expect(await chain.wrongPoints(), what).toEqual([]);
  const { segments } = await chain.ledger.read(chain.address);
  expect((await chain.objects('s/')).count, what).toBe(segments.length);
}

/** Counts calls by failing none. */
async function callsOfOneRun(): Promise<number> {
  const chain = await worn();
  let calls = 0;
  const store = new MeteredObjectStore(chain.store, () => void (calls += 1), chain.clock);
  await upkeepOnce(chain, chain.upkeep({ store }));
  return calls;
}

class Counter extends CrashPoints {
  readonly reachedPoints: string[] = [];

  constructor(private readonly dieAt: number) {
    super();
  }

  override reached(point: string): void {
    this.reachedPoints.push(point);
    if (this.reachedPoints.length === this.dieAt) throw new Error(`died at ${point}`);
  }
}

describe('maintenance on a store that fails', () => {
  it.each<Fault>(['unavailable', 'answer-lost', 'bit-flip', 'short-read'])('goes on after any call ended with %s', async (fault) => {
    const calls = await callsOfOneRun();
    expect(calls).toBeGreaterThan(40);
    let failed = 0;
    for (let call = 1; call <= calls; call += STRIDE) {
      const chain = await worn();
      const store = new FaultyObjectStore(chain.store, [{ call, fault }]);
      await upkeepOnce(chain, chain.upkeep({ store })).catch((error: unknown) => {
        expect(error, `${fault} of call ${call}`).toBeInstanceOf(PlatformError);
        failed += 1;
      });
      await expectRecovery(chain, `${fault} of call ${call}`);
    }
    expect(failed).toBeGreaterThan(0);
  });

  it('a listing that breaks deletes nothing', async () => {
    const chain = await worn();
    await maintainChain(chain.upkeep());
    const before = await chain.objects();
    const { ledger, store, address, signal } = chain.upkeep();
    chain.clock.nowMs += 3 * GRACE_MS;
    const broken = new FaultyObjectStore(store, [{ call: 2, operation: 'list', fault: 'unavailable' }]);
    await expect(collect({ ledger, store: broken, address, signal, installation: INSTALLATION, limits: LIMITS })).rejects.toMatchObject({
      code: 'object.store-unavailable',
    });
    expect(await chain.objects()).toEqual(before);
  });
});

describe('maintenance that is killed', () => {
  it('at any named place loses nothing, and the next run finishes', async () => {
    const seen = new Set<string>();
    for (let dieAt = 1; ; dieAt += 1) {
      const chain = await worn();
      const counter = new Counter(dieAt);
      const isDead = await upkeepOnce(chain, chain.upkeep({}, counter)).then(
        () => false,
        () => true,
      );
      for (const point of counter.reachedPoints) seen.add(point);
      await expectRecovery(chain, `killed at ${counter.reachedPoints.at(-1)}`);
      if (!isDead) break;
    }
    expect([...seen].sort()).toEqual([...MAINTENANCE_CRASH_POINTS].sort());
  });
});

describe('an index that vanishes', () => {
  it.each([
    ['before', true],
    ['after', false],
  ])('keeps neither readers nor upkeep from going on, lost %s it is opened', async (_, isRootLost) => {
    const chain = await worn();
    await upkeepOnce(chain, chain.upkeep());
    for (let round = 0; round < 3; round += 1) {
      const { indexes } = await chain.ledger.read(chain.address);
      expect(indexes.length).toBeGreaterThan(0);
      for (const { sha256, parts } of indexes)
        for (const one of isRootLost ? [sha256] : parts) await chain.store.delete(chain.names.index(one));
      expect(await chain.wrongPoints()).toEqual([]);
      chain.write(round * BLOCK_BYTES, 3 * BLOCK_BYTES, round + 2);
      await chain.commit();
      await chain.deletePoint([...chain.kept.keys()][0]!);
      expect((await maintainChain(chain.upkeep())).isDone).toBe(true);
      expect(await chain.wrongPoints()).toEqual([]);
    }
    await expectRecovery(chain, 'without its indexes');
  });
});
