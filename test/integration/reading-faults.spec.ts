import { expect, it } from 'vitest';
import { MemoryScrubLedger, maintainChain, SCRUB_OPTIONS, scrubChain } from '#libs/chain';
import { newId, PlatformError } from '#libs/kernel';
import { type Fault, FaultyObjectStore, type ObjectStore } from '#libs/object-store';
import { count } from '../support/counts.js';
import { expectSameDisk, IMAGE_KINDS, imageOf, isDifferencing } from '../support/disk-exports.js';
import { type Kept, MaintainedChain } from '../support/maintained-chain.js';

/* A store that fails at any call of reading a point, of an export or of a scrub: what comes is right or a typed error, never other bytes, and nothing sound is called damaged. */

const BLOCK_BYTES = 65_536;
const STRIDE = count(5, 1);
const FAULTS: readonly Fault[] = ['unavailable', 'answer-lost', 'bit-flip', 'short-read'];

async function madeChain(): Promise<MaintainedChain> {
  const chain = await new MaintainedChain({ blocks: 6 }).create();
  chain.write(0, 6 * BLOCK_BYTES, 3);
  await chain.commit();
  for (let round = 1; round <= 6; round += 1) {
    chain.write((round % 4) * BLOCK_BYTES, BLOCK_BYTES + 5_000, round % 5);
    await chain.commit();
  }
  await maintainChain(chain.upkeep());
  // One that no index covers.
  chain.write(BLOCK_BYTES, 9_000, 9);
  await chain.commit();
  return chain;
}

/** Fails each call in its turn, until a whole run in which no call was left to fail. */
async function failEach(chain: MaintainedChain, work: (store: ObjectStore, what: string) => Promise<void>): Promise<void> {
  for (const fault of FAULTS) {
    let refused = 0;
    let isWhole = false;
    for (let call = 1; !isWhole; call += STRIDE) {
      expect(call).toBeLessThan(2_000);
      const store = new FaultyObjectStore(chain.store, [{ call, fault }]);
      const isRefused = await work(store, `${fault} of call ${call}`).then(
        () => false,
        (error: unknown) => {
          if (error instanceof PlatformError) return true;
          throw error;
        },
      );
      refused += Number(isRefused);
      isWhole = store.callCount < call;
      // Nothing fails where nothing was made to.
      if (isWhole) expect(isRefused, `${fault} after the last call`).toBe(false);
    }
    if (fault === 'unavailable') expect(refused).toBeGreaterThan(0);
  }
}

it('reads right or not at all', async () => {
  const chain = await madeChain();
  const { point, disk } = [...chain.kept.values()].at(-1)!;
  const lease = await chain.lease(point);
  await failEach(chain, async (store, what) => {
    const view = await chain.open(lease, store);
    expect((await view.read(0, 0, disk.length)).equals(disk), what).toBe(true);
    view.close();
  });
});

it.each(IMAGE_KINDS.filter((kind) => !isDifferencing(kind)))('makes a right %s or none', async (kind) => {
  const chain = await madeChain();
  const { point, disk } = [...chain.kept.values()].at(-1)!;
  const lease = await chain.lease(point);
  await failEach(chain, async (store) => {
    const view = await chain.open(lease, store);
    await expectSameDisk(await imageOf(kind, view.disk(0)), disk);
    view.close();
  });
});

it.each(IMAGE_KINDS.filter(isDifferencing))('makes a right %s over a parent point or none', async (kind) => {
  const chain = await madeChain();
  const [base, top] = [...chain.kept.values()].slice(-3) as [Kept, Kept, Kept];
  const { address, ledger, keys } = chain;
  const [from, to] = [base.point.ref, top.point.ref];
  const [parentLease, lease] = [await chain.lease(base.point), await chain.lease(top.point)];
  const between = await ledger.leaseView({ ...address, id: newId(), root: to, base: from, holder: 'a test', ttlMs: null });
  const replacements = new Map(between.replacements.map(({ segment, by }) => [segment, by]));
  await failEach(chain, async (store) => {
    const parent = await chain.open(parentLease, store);
    const view = await chain.open(lease, store);
    const changes = { ...address, store, keys, from, to, indexes: between.indexes, replacements };
    await expectSameDisk(await imageOf(kind, view.disk(0), { disk: parent.disk(0), changes }), top.disk);
    for (const one of [view, parent]) one.close();
  });
});

it('calls nothing damaged that is sound', async () => {
  const chain = await madeChain();
  const { ledger, address, signal } = chain.upkeep();
  const options = { ...SCRUB_OPTIONS, objectEveryMs: 0 };
  await failEach(chain, async (store, what) => {
    const scrubs = new MemoryScrubLedger(chain.clock);
    try {
      await scrubChain({ ledger, scrubs, store, address, options, signal });
    } finally {
      expect(await scrubs.damages(address), what).toEqual([]);
    }
  });
  expect(await chain.wrongPoints()).toEqual([]);
});
