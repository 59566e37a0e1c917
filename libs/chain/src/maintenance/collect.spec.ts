import { beforeEach, describe, expect, it } from 'vitest';
import { cycleNumber } from '../cycle-number.js';
import { putBytes, WrappedObjectStore, type ObjectStore } from '#libs/object-store';
import { CodedError, newId, type BranchId } from '#libs/kernel';
import { BLOCK_BYTES } from '../limits.js';
import { MaintainedChain } from '../../../../test/support/maintained-chain.js';
import type { CondemnedObject } from './chain-ledger.js';
import { collect, type CollectionResult } from './collect.js';
import { maintainChain } from './maintain-chain.js';
import type { MemoryChainLedger } from './memory-chain-ledger.js';
import { requireStamp, stampStore, type Installation } from './store-stamp.js';

const INSTALLATION: Installation = { id: '01890000-0000-7000-8000-000000000001', incarnation: 2 };
const GRACE_MS = 86_400_000;
const LIMITS = { graceMs: GRACE_MS, windowMs: 3_600_000, bytesShareMax: 0.05, freeBytes: 2 ** 40, objectsMax: 10_000 };
const HASH = 'ab'.repeat(32);

describe('collection', () => {
  let chain: MaintainedChain;
  const run = (changes: Partial<Parameters<typeof collect>[0]> = {}): Promise<CollectionResult> => {
    const { ledger, store, address, signal } = chain.upkeep();
    return collect({ ledger, store, address, signal, installation: INSTALLATION, limits: LIMITS, ...changes });
  };

  /** A chain with something to delete at once. */
  beforeEach(async () => {
    chain = await new MaintainedChain().create();
    await stampStore(chain.store, INSTALLATION);
    for (let round = 1; round <= 4; round += 1) {
      chain.write(0, 4 * BLOCK_BYTES, round);
      await chain.commit();
    }
    for (const id of [...chain.kept.keys()].slice(0, 3)) await chain.deletePoint(id);
    await maintainChain(chain.upkeep());
    chain.clock.nowMs += GRACE_MS;
  });

  const expectNothingDeleted = async (code: string, changes: Partial<Parameters<typeof collect>[0]> = {}): Promise<void> => {
    const before = await chain.objects();
    await expect(run(changes)).rejects.toMatchObject({ code });
    chain.clock.nowMs += 2 * GRACE_MS;
    await expect(run(changes)).rejects.toMatchObject({ code });
    expect(await chain.objects()).toEqual(before);
  };

  it('deletes what is dead, once', async () => {
    expect((await run()).deletedObjects).toBeGreaterThan(0);
    expect(await run()).toMatchObject({ deletedObjects: 0, deletedBytes: 0 });
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('deletes what nobody knows only when it was there a grace ago too', async () => {
    const name = chain.names.segment(HASH);
    await putBytes(chain.store, name, Buffer.from('of a cycle that was never committed'));
    await run();
    expect(await chain.store.head(name)).not.toBeNull();
    chain.clock.nowMs += GRACE_MS;
    await run();
    expect(await chain.store.head(name)).toBeNull();
  });

  it.each([
    ['another installation', { ...INSTALLATION, id: '01890000-0000-7000-8000-000000000002' }, 'collection.foreign-store'],
    ['an older state of the database', { ...INSTALLATION, incarnation: 1 }, 'collection.older-database'],
    ['an incarnation that never marked the store', { ...INSTALLATION, incarnation: 3 }, 'collection.stamp-missing'],
  ])('deletes nothing for %s', async (_, installation, code) => {
    await expectNothingDeleted(code, { installation });
  });

  it('deletes nothing whichever bit of the stamp has flipped', async () => {
    const stamp = await chain.store.get('i/00002');
    const before = await chain.objects();
    for (let bit = 0; bit < stamp.length * 8; bit += 1) {
      const flipped = Buffer.from(stamp);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      await chain.store.delete('i/00002');
      await putBytes(chain.store, 'i/00002', flipped);
      await expect(run(), `bit ${bit}`).rejects.toMatchObject({ code: expect.stringMatching(/^(stamp|collection)\./) });
    }
    expect(await chain.objects()).toEqual(before);
  });

  it('deletes nothing from a store without a stamp', async () => {
    await chain.store.delete('i/00002');
    await expectNothingDeleted('collection.stamp-missing');
  });

  it('deletes nothing while the store holds a manifest of a cycle that the database never gave out', async () => {
    const ref = { branchId: newId<BranchId>(), sequence: 5, cycle: cycleNumber(1, 4711) };
    await putBytes(chain.store, chain.names.manifest(ref), Buffer.from('committed to a newer database'));
    await expectNothingDeleted('collection.unknown-manifest');
  });

  it('deletes nothing while the store holds a snapshot later than any that the database knows', async () => {
    await putBytes(chain.store, `${chain.names.prefix}v/0000000099-${HASH}`, Buffer.from('of a newer database'));
    await expectNothingDeleted('collection.older-database');
  });

  it('deletes nothing while the store holds what this version does not know', async () => {
    await putBytes(chain.store, `${chain.names.prefix}s/${HASH}.v2`, Buffer.from('of a later version'));
    await expectNothingDeleted('collection.unknown-object');
  });

  it('deletes nothing for a database that knows nothing of the chain', async () => {
    const other = await new MaintainedChain({ store: chain.store }).create();
    const before = await chain.objects();
    await run({ ledger: other.ledger, address: other.address });
    await expect(run({ ledger: other.ledger })).rejects.toMatchObject({ code: 'chain.not-found' });
    expect(await chain.objects()).toEqual(before);
  });

  it('deletes nothing above the limits, until somebody approves it', async () => {
    const limits = { ...LIMITS, freeBytes: 0 };
    await expectNothingDeleted('collection.over-limit', { limits });
    const held = (await chain.ledger.heldSweep(chain.address))!;
    expect((chain.ledger as MemoryChainLedger).approveSweep(chain.address, held.digest)).toBe(true);
    expect((await run({ limits })).deletedObjects).toBeGreaterThan(0);
  });

  /** So many strays that one batch of deletions does not hold them, seen a grace ago. */
  const addStrays = async (): Promise<string[]> => {
    const names = Array.from({ length: 300 }, (_, at) => chain.names.segment(at.toString(16).padStart(64, '0')));
    for (const name of names) await putBytes(chain.store, name, Buffer.from('of a cycle that was never committed'));
    const { ledger, address, store } = chain.upkeep();
    await ledger.sight(address, await strangersIn(store), await ledger.beginListing(address));
    chain.clock.nowMs += GRACE_MS;
    return names;
  };
  const strangersIn = async (store: ObjectStore): Promise<CondemnedObject[]> => {
    const found: CondemnedObject[] = [];
    for await (const { key, sizeBytes } of store.list(`${chain.names.prefix}s/000`))
      found.push({ name: key.slice(chain.names.prefix.length), sizeBytes });
    return found;
  };
  /** Something happens while the first object is being deleted. */
  class Interrupted extends WrappedObjectStore {
    deletions = 0;

    constructor(
      inner: ObjectStore,
      private readonly meanwhile: () => Promise<void>,
    ) {
      super(inner);
    }

    override async delete(key: string): Promise<void> {
      this.deletions += 1;
      if (this.deletions === 1) await this.meanwhile();
      return super.delete(key);
    }
  }

  it('stops in the middle when another state of the database takes the store over', async () => {
    await addStrays();
    const store = new Interrupted(chain.store, () => stampStore(chain.store, { ...INSTALLATION, incarnation: 3 }));
    await expect(run({ store })).rejects.toMatchObject({ code: 'collection.older-database' });
    expect(store.deletions).toBe(256);
  });

  it('deletes nothing that another worker deleted and somebody wrote anew, however long it was held up', async () => {
    const names = await addStrays();
    const store = new Interrupted(chain.store, async () => {
      await run();
      chain.clock.nowMs += GRACE_MS;
      await run();
      for (const name of names) expect(await chain.store.head(name)).toBeNull();
      for (const name of names) {
        await chain.ledger.hold(chain.address, name.slice(chain.names.prefix.length), GRACE_MS);
        await putBytes(chain.store, name, Buffer.from('written anew'));
      }
    });
    await run({ store });
    // The batch that was under way could not know.
    expect(store.deletions).toBe(256);
    expect((await strangersIn(chain.store)).length).toBeGreaterThanOrEqual(names.length - 256);
  });

  it('leaves what is locked for later', async () => {
    let isLocked = true;
    class Locked extends WrappedObjectStore {
      override async delete(key: string): Promise<void> {
        if (isLocked) throw new CodedError('object.locked', 'conflict', 'the object is locked');
        return super.delete(key);
      }
    }
    const store = new Locked(chain.store);
    const first = await run({ store });
    expect(first).toMatchObject({ deletedObjects: 0 });
    expect(first.lockedObjects).toBeGreaterThan(0);
    isLocked = false;
    expect(await run({ store })).toMatchObject({ deletedObjects: first.lockedObjects, lockedObjects: 0 });
  });

  it('keeps fences, keys and exports', async () => {
    const { prefix } = chain.names;
    const others = [`${prefix}f/00001-000000000000002`, `${prefix}k/00001-data-${HASH}`, `${prefix}e/${newId()}`];
    for (const name of others) await putBytes(chain.store, name, Buffer.from('x'));
    for (let round = 0; round < 3; round += 1) {
      await run();
      chain.clock.nowMs += GRACE_MS;
    }
    for (const name of others) expect(await chain.store.head(name)).not.toBeNull();
  });
});

describe('the stamp of a store', () => {
  it('is set once for each incarnation, and never for another installation', async () => {
    const { store } = await new MaintainedChain().create();
    const first = { ...INSTALLATION, incarnation: 1 };
    await stampStore(store, first);
    await stampStore(store, first);
    await requireStamp(store, first);
    await stampStore(store, INSTALLATION);
    await requireStamp(store, INSTALLATION);
    await expect(stampStore(store, first)).rejects.toMatchObject({ code: 'collection.older-database' });
    await expect(stampStore(store, { id: newId(), incarnation: 9 })).rejects.toMatchObject({ code: 'collection.foreign-store' });
  });
});
