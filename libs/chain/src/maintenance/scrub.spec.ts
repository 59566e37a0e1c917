import { beforeAll, describe, expect, it } from 'vitest';
import { DAY_MS, newId, PlatformError, type RelationshipId } from '#libs/kernel';
import { FaultyObjectStore, MemoryObjectStore, putBytes, type ObjectStore } from '#libs/object-store';
import { count } from '../../../../test/support/counts.js';
import { BLOCK_BYTES } from '../limits.js';
import { encodeRelationshipRecord } from '../rebuild/relationship-record.js';
import { ScrubbedChain } from './scrubbed-chain.fixture.js';
import { repairFromCopy } from './repair-from-copy.js';
import { SCRUB_OPTIONS } from './scrub.js';

/** By the beginning of its name, as what an object is told of. Indexes are dropped at once. */
const KINDS: Readonly<Record<string, string>> = {
  's/': 'segment',
  'l/': 'list',
  'm/': 'manifest',
  'x/': 'index',
  'v/': 'snapshot',
  'k/': 'key',
  'f/': 'fence',
  'r/': 'relationship',
  '/r/': 'presence',
  '/t/': 'tenant-key',
};

/** A bit of an object flips: it is found, contained, and healed. */
async function prove(world: ScrubbedChain, name: string, kind: string, seed: number): Promise<void> {
  const what = `bit ${seed} of ${name}`;
  await world.flip(name, seed);
  const result = await world.scrub();
  const damages = await world.scrubs.damages(world.chain.address);
  if (name.startsWith('x/')) expect(result, what).toMatchObject({ droppedIndexes: 1, damagedObjects: 0 });
  else expect(damages, what).toMatchObject([{ name, kind }]);
  await world.expectContained(what);
  await world.heal(name);
  expect(await world.scrub(), what).toMatchObject({ damagedObjects: 0, droppedIndexes: 0 });
  expect(await world.scrubs.damages(world.chain.address), what).toEqual([]);
  expect(await world.chain.wrongPoints(), what).toEqual([]);
}

describe('a scrub', () => {
  let world: ScrubbedChain;
  beforeAll(async () => void (world = await ScrubbedChain.make()));

  it('finds a bit that flipped anywhere, keeps it from all else, and sees it healed', { timeout: 300_000 }, async () => {
    const kinds = new Set<string>();
    let seed = Math.floor(Math.random() * 2 ** 31);
    for (let round = 0; round < count(3, 40); round += 1) {
      for (const [start, kind] of Object.entries(KINDS)) {
        seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
        const names = (await world.names()).filter((name) => name.startsWith(start));
        const name = names[seed % names.length];
        if (name === undefined) continue;
        kinds.add(kind);
        await prove(world, name, kind, seed);
      }
    }
    expect([...kinds].sort()).toEqual(Object.values(KINDS).sort());
  });

  it('finds what no reference pins damaged or gone, and calls no point damaged for it', async () => {
    const own = await ScrubbedChain.make();
    const { chain, scrubs } = own;
    const codes: Record<string, readonly string[]> = {
      'f/': ['fence.hash-mismatch', 'fence.missing'],
      'r/': ['relationship-record.hash-mismatch', 'relationship-record.missing'],
      '/r/': ['presence.hash-mismatch', 'presence.missing'],
      '/t/': ['tenant-key-record.hash-mismatch', 'tenant-key-record.missing'],
    };
    for (const [start, [damaged, gone]] of Object.entries(codes)) {
      const name = (await own.names()).find((one) => one.startsWith(start))!;
      await own.flip(name, 300);
      await own.scrub();
      expect(await scrubs.damages(chain.address)).toMatchObject([{ name, code: damaged, positions: [], blocks: [] }]);
      await chain.store.delete(chain.names.at(name));
      await own.scrub();
      expect(await scrubs.damages(chain.address)).toMatchObject([{ name, code: gone, positions: [] }]);
      expect([...(await own.damagedCycles())]).toEqual([]);
      await own.heal(name);
      expect(await own.scrub()).toMatchObject({ damagedObjects: 0, healedObjects: 1 });
    }
  });

  it('reads at its next turn what no reference pins and is new, to know it from then on', async () => {
    const own = await ScrubbedChain.make();
    const { chain } = own;
    const options = { ...SCRUB_OPTIONS, sampleCount: 0 };
    expect(await own.scrub({ options })).toMatchObject({ verifiedObjects: 0 });
    const { chainId } = chain.address;
    const relationshipId = newId<RelationshipId>();
    const key = chain.names.relationship(relationshipId);
    await putBytes(chain.store, key, encodeRelationshipRecord({ chainId, relationshipId, sourceId: newId(), tag: 'tag-b' }).bytes);
    expect(await own.scrub({ options })).toMatchObject({ verifiedObjects: 1 });
    // The tag, which would be as good by its form.
    const bytes = Buffer.from((await chain.store.get(key)).toString().replace('tag-b', 'tag-c'));
    await chain.store.delete(key);
    await putBytes(chain.store, key, bytes);
    chain.clock.nowMs += 24 * DAY_MS;
    expect(await own.scrub({ options })).toMatchObject({ damagedObjects: 1 });
  });

  it('takes no notice of a stranger among the fences once it is gone', async () => {
    const own = await ScrubbedChain.make();
    const { chain, scrubs } = own;
    const name = 'f/00001-000000000000009';
    const [another] = (await own.names()).filter((one) => one.startsWith('f/'));
    await putBytes(chain.store, chain.names.at(name), await chain.store.get(chain.names.at(another!)));
    await own.scrub();
    expect(await scrubs.damages(chain.address)).toMatchObject([{ name, kind: 'fence', code: 'fence.malformed' }]);
    await chain.store.delete(chain.names.at(name));
    expect(await own.scrub()).toMatchObject({ damagedObjects: 0, healedObjects: 1 });
  });

  it('knows which points show a damaged segment, and that later ones stand on them', async () => {
    const own = await ScrubbedChain.make();
    const { chain, scrubs } = own;
    const { segments } = await chain.ledger.read(chain.address);
    const newest = segments.find(({ cycle, first }) => cycle === [...chain.kept.values()].at(-1)!.point.ref.cycle && first.block === 8)!;
    await own.flip(`s/${newest.sha256}`, 1_000);
    await own.scrub();
    const [damage] = await scrubs.damages(chain.address);
    const cycles = [...chain.kept.values()].map(({ point }) => point.ref.cycle);
    expect([...(await own.damagedCycles())]).toEqual([cycles.at(-1)]);
    expect(damage).toMatchObject({ kind: 'segment', blocks: [{ disk: 0, block: 8, count: 1 }] });
    // Nothing of it is healed by a point that leaves the block alone.
    chain.write(0, BLOCK_BYTES, 11);
    const above = await chain.commit();
    expect(await own.damagedCycles()).toContain(above.ref.cycle);
    // The block sent whole heals the head, and leaves history as it is.
    chain.write(8 * BLOCK_BYTES, BLOCK_BYTES, 12);
    const healed = await chain.commit();
    await own.scrub();
    const damaged = await own.damagedCycles();
    expect(damaged.has(healed.ref.cycle)).toBe(false);
    expect(damaged).toContain(above.ref.cycle);
    expect((await scrubs.damages(chain.address))[0]).toMatchObject({ blocks: [] });
    await own.expectContained('after the head was healed');
  });

  it('finds what is gone, and takes what came wrong over the wire once for no damage', async () => {
    const own = await ScrubbedChain.make();
    const [name] = (await own.names()).filter((one) => one.startsWith('s/'));
    const bytes = await own.chain.store.get(own.chain.names.prefix + name!);
    await own.chain.store.delete(own.chain.names.prefix + name!);
    expect(await own.scrub()).toMatchObject({ damagedObjects: 1 });
    expect(await own.scrubs.damages(own.chain.address)).toMatchObject([{ name, code: 'view.segment-missing' }]);
    await putBytes(own.chain.store, own.chain.names.prefix + name!, bytes);
    expect(await own.scrub()).toMatchObject({ damagedObjects: 0, healedObjects: 1 });
    const { FaultyObjectStore } = await import('#libs/object-store');
    const store = new FaultyObjectStore(own.chain.store, [{ call: 7, fault: 'bit-flip' }]);
    expect(await own.scrub({ store })).toMatchObject({ damagedObjects: 0, droppedIndexes: 0 });
  });

  it('reads everything in turns, oldest first, and again only when its time has come', async () => {
    const own = await ScrubbedChain.make();
    const options = { ...SCRUB_OPTIONS, sampleCount: 0, turnObjects: 4 };
    const total = (await own.names()).filter((name) => !name.startsWith('l/')).length;
    expect(await own.scrub({ options })).toMatchObject({ verifiedObjects: 0, isDone: true });
    own.chain.clock.nowMs += 23 * DAY_MS;
    let verified = 0;
    let turns = 0;
    for (let isDone = false; !isDone; turns += 1) {
      own.chain.clock.nowMs += 1;
      const result = await own.scrub({ options });
      verified += result.verifiedObjects;
      ({ isDone } = result);
    }
    expect(verified).toBe(total);
    expect(turns).toBeGreaterThanOrEqual(total / 4);
    expect(await own.scrub({ options: { ...options, sampleCount: 3 } })).toMatchObject({ verifiedObjects: 3 });
  });

  it('repairs from a sound copy alone', async () => {
    const own = await ScrubbedChain.make();
    const { address, store } = own.chain;
    const [name] = (await own.names()).filter((one) => one.startsWith('s/'));
    const sha256 = name!.slice(2);
    const repair = (from: ObjectStore) =>
      repairFromCopy({ store, copy: { store: from, address }, address, name: name!, sha256, signal: new AbortController().signal });
    expect(await repair(own.copy)).toEqual({ isChanged: false });
    await own.flip(name!, 77);
    await expect(repair(new MemoryObjectStore())).rejects.toMatchObject({ code: 'repair.copy-missing' });
    await expect(repair(store)).rejects.toMatchObject({ code: 'repair.copy-damaged' });
    expect(await repair(own.copy)).toEqual({ isChanged: true });
    expect(await own.chain.wrongPoints()).toEqual([]);
  });

  it('leaves, whichever call of a repair from a copy fails, the right bytes, the damaged ones or none, and repairs them when asked again', async () => {
    const own = await ScrubbedChain.make();
    const { address, store, names } = own.chain;
    const [name] = (await own.names()).filter((one) => one.startsWith('s/'));
    const key = names.prefix + name!;
    const right = Buffer.from(await store.get(key));
    const repair = (near: ObjectStore, far: ObjectStore) => {
      const copy = { store: far, address };
      return repairFromCopy({ store: near, copy, address, name: name!, sha256: name!.slice(2), signal: new AbortController().signal });
    };
    let refused = 0;
    for (const isNear of [true, false])
      for (const fault of ['unavailable', 'answer-lost', 'full', 'bit-flip', 'short-read'] as const)
        for (let call = 1, isWhole = false; !isWhole; call += 1) {
          expect(call).toBeLessThan(20);
          await own.flip(name!, 77);
          const damaged = Buffer.from(await store.get(key));
          const failing = new FaultyObjectStore(isNear ? store : own.copy, [{ call, fault }]);
          const [near, far] = isNear ? [failing, own.copy] : [store, failing];
          const isRefused = await repair(near, far).then(
            () => false,
            (error: unknown) => {
              if (error instanceof PlatformError) return true;
              throw error;
            },
          );
          refused += Number(isRefused);
          isWhole = failing.callCount < call;
          const what = `${fault} of call ${call} of ${isNear ? 'the store' : 'the copy'}`;
          const left = (await store.head(key)) === null ? null : await store.get(key);
          if (!isRefused) expect(left?.equals(right), what).toBe(true);
          // The copy is read before anything is touched.
          else if (!isNear) expect(left?.equals(damaged), what).toBe(true);
          else if (left !== null) expect(left.equals(right) || left.equals(damaged), what).toBe(true);
          if (isWhole) expect(isRefused, what).toBe(false);
          await repair(store, own.copy);
          expect((await store.get(key)).equals(right), what).toBe(true);
        }
    expect(refused).toBeGreaterThan(10);
    expect(await own.chain.wrongPoints()).toEqual([]);
  });
});
