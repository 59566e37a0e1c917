import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { CodedError } from '#libs/kernel';
import { FileObjectStore, MemoryObjectStore, MeteredObjectStore, putBytes, WrappedObjectStore, type ObjectStore } from '#libs/object-store';
import { MaintainedChain } from '../../../../test/support/maintained-chain.js';
import { BLOCK_BYTES } from '../limits.js';
import { sha256Hex } from '../sha256.js';
import { maintainChain } from './maintain-chain.js';

interface Place {
  readonly store: ObjectStore;
  /** Changes an object where it lies, past the store. */
  spoil(key: string, change: (bytes: Buffer) => Buffer): Promise<void>;
}

const directories: string[] = [];
afterEach(async () => {
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true });
});

async function inDirectory(): Promise<Place> {
  const directory = await mkdtemp(join(tmpdir(), 'damaged-index-'));
  directories.push(directory);
  const spoil: Place['spoil'] = async (key, change) =>
    writeFile(join(directory, key), change(await readFile(join(directory, key))), { mode: 0o600 });
  return { store: await FileObjectStore.open(directory), spoil };
}

async function inMemory(): Promise<Place> {
  const store = new MemoryObjectStore();
  const spoil: Place['spoil'] = async (key, change) => {
    const bytes = change(Buffer.from(await store.get(key)));
    await store.delete(key);
    await putBytes(store, key, bytes);
  };
  return { store, spoil };
}

/** Locks what it has of indexes, as a bucket does whose default retention holds for all that comes in. */
class LockingStore extends WrappedObjectStore {
  isLocked = false;

  override delete(key: string): Promise<void> {
    if (this.isLocked && key.includes('/x/')) return Promise.reject(new CodedError('object.locked', 'conflict', 'it is locked'));
    return super.delete(key);
  }
}

async function indexed(store: ObjectStore): Promise<MaintainedChain> {
  const chain = await new MaintainedChain({ store, blocks: 10 }).create();
  for (let round = 1; round <= 6; round += 1) {
    chain.write((round % 5) * BLOCK_BYTES, 2 * BLOCK_BYTES, round);
    await chain.commit();
  }
  await maintainChain(chain.upkeep());
  return chain;
}

const flip = (bytes: Buffer): Buffer => {
  bytes[bytes.length >> 1]! ^= 0x10;
  return bytes;
};

const indexesOf = async (chain: MaintainedChain): Promise<string[]> =>
  (await chain.ledger.read(chain.address)).indexes.flatMap(({ sha256, parts }) => [sha256, ...parts]).sort();

/** What upkeep does with an index that fails it. */
async function dropAll(chain: MaintainedChain): Promise<void> {
  const { revision, indexes } = await chain.ledger.read(chain.address);
  const dropIndexes = indexes.map(({ sha256 }) => sha256);
  await chain.ledger.changeIndexes(chain.address, { revision, addIndexes: [], dropIndexes, writtenBytes: 0 });
}

/** Reads the newest point whole, and tells how often the store was asked. */
async function readsOf(chain: MaintainedChain): Promise<number> {
  const { point, disk } = [...chain.kept.values()].at(-1)!;
  let reads = 0;
  const store = new MeteredObjectStore(chain.store, () => void (reads += 1), chain.clock);
  const lease = await chain.lease(point);
  const view = await chain.open(lease, store);
  expect((await view.read(0, 0, disk.length)).equals(disk)).toBe(true);
  view.close();
  await chain.ledger.releaseLease(chain.address, lease.id);
  return reads;
}

describe.each([
  ['a directory', inDirectory],
  ['memory', inMemory],
])('an index that is damaged in place, in %s', (_, open) => {
  it.each([
    ['with a flipped bit', flip],
    ['cut short', (bytes: Buffer) => bytes.subarray(0, bytes.length - 7)],
  ])('%s: is written anew under its name, and readers are as fast as before', async (_how, change) => {
    const { store, spoil } = await open();
    const chain = await indexed(store);
    const [names, reads] = [await indexesOf(chain), await readsOf(chain)];
    expect(names.length).toBeGreaterThan(0);
    for (const sha256 of names) await spoil(chain.names.index(sha256), change);
    expect(await chain.wrongPoints()).toEqual([]);
    expect(await readsOf(chain)).toBeGreaterThan(reads);
    await dropAll(chain);
    expect((await maintainChain(chain.upkeep())).isDone).toBe(true);
    expect(await indexesOf(chain)).toEqual(names);
    for (const sha256 of names) expect(sha256Hex(await store.get(chain.names.index(sha256)))).toBe(sha256);
    expect(await readsOf(chain)).toBe(reads);
    expect(await chain.wrongPoints()).toEqual([]);
  });

  it('is met by upkeep itself, which goes on and mends it', async () => {
    const { store, spoil } = await open();
    const chain = await indexed(store);
    for (const sha256 of await indexesOf(chain)) await spoil(chain.names.index(sha256), flip);
    for (let round = 1; round <= 3; round += 1) {
      chain.write(round * BLOCK_BYTES, BLOCK_BYTES, 40 + round);
      await chain.commit();
      await chain.deletePoint([...chain.kept.keys()][0]!);
      expect((await maintainChain(chain.upkeep())).isDone).toBe(true);
      expect(await chain.wrongPoints()).toEqual([]);
    }
  });
});

describe('an index that is damaged and locked', () => {
  it('is done without until its lock ends', async () => {
    const { store: inner, spoil } = await inMemory();
    const store = new LockingStore(inner);
    const chain = await indexed(store);
    for (const sha256 of await indexesOf(chain)) await spoil(chain.names.index(sha256), flip);
    await dropAll(chain);
    store.isLocked = true;
    expect((await maintainChain(chain.upkeep())).isDone).toBe(true);
    expect(await chain.wrongPoints()).toEqual([]);
    store.isLocked = false;
    expect((await maintainChain(chain.upkeep())).isDone).toBe(true);
    const names = await indexesOf(chain);
    expect(names.length).toBeGreaterThan(0);
    for (const sha256 of names) expect(sha256Hex(await store.get(chain.names.index(sha256)))).toBe(sha256);
    expect(await chain.wrongPoints()).toEqual([]);
  });
});
