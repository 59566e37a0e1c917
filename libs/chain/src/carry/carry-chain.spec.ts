import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PlatformError } from '#libs/kernel';
import { FaultyObjectStore, type Fault, MemoryObjectStore, type ObjectStore, putBytes } from '#libs/object-store';
import { count } from '../../../../test/support/counts.js';
import { wrapKey } from '../keys/wrapped-key.js';
import { maintainChain } from '../maintenance/maintain-chain.js';
import { isConflict } from '../maintenance/maintenance-errors.js';
import { ScheduledStore, World } from './carry-world.fixture.js';

const RUNS = count(30, 2_000);

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
    await world.failOverThere();
    await world.commit(22, true);
    await expect(world.carry()).rejects.toMatchObject({ code: 'carry.failed-over' });
    expect((await world.check()).manifests).toHaveLength(1);
  });

  it('ends in the midst of a turn where the chain is failed over at the third site meanwhile', async () => {
    const world = await new World().start();
    await world.commit(11, true);
    await world.carry();
    await world.commit(22, true);
    let over: Promise<void> | undefined;
    const site = new ScheduledStore(world.site, () => (over ??= world.failOverThere()));
    await expect(world.carry({ site })).rejects.toMatchObject({ code: 'carry.failed-over' });
    expect((await world.check()).manifests).toHaveLength(1);
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
