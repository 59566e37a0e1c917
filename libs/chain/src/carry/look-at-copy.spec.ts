import { describe, expect, it } from 'vitest';
import { putBytes } from '#libs/object-store';
import { maintainChain } from '../maintenance/maintain-chain.js';
import { World } from './carry-world.fixture.js';

describe('a chain at a third site', () => {
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

  it('does not blame the third site for what is damaged or gone at the source', async () => {
    const world = await new World().start();
    await world.commit(11, true);
    await world.failOver(0);
    await world.commit(22, true);
    await world.carry();
    const { prefix } = world.chain.names;
    const change = async (part: string, changed: (bytes: Buffer) => Buffer | null): Promise<string> => {
      for await (const { key } of world.store.list(prefix + part)) {
        const bytes = await world.store.get(key);
        const instead = changed(bytes);
        await world.store.delete(key);
        if (instead !== null) await putBytes(world.store, key, instead);
        return key.slice(prefix.length);
      }
      throw new Error(`nothing lies at ${part}`);
    };
    for (const part of ['m/', 'l/', 'f/']) {
      const sound = new Map<string, Buffer>();
      const name = await change(part, (bytes) => (sound.set(part, bytes), bytes.subarray(1)));
      world.carriedTo = null;
      await expect(world.carry(), part).rejects.toMatchObject({ code: 'carry.source-damaged', details: { object: name } });
      await change(part, () => null);
      await putBytes(world.store, prefix + name, sound.get(part)!);
    }
    const fence = await change('f/', () => null);
    world.carriedTo = null;
    await expect(world.carry()).rejects.toMatchObject({ code: 'carry.source-damaged', details: { object: fence } });
  });
});
