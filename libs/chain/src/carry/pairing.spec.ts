import { describe, expect, it } from 'vitest';
import { MemoryObjectStore } from '#libs/object-store';
import { stampStore } from '../maintenance/store-stamp.js';
import { acceptSource, isNeededByOthers, pairSite, readPairings } from './pairing.js';

const [SOURCE, OTHER, THIRD] = ['1', '2', '3'].map((digit) => ({ id: `01890000-0000-7000-8000-00000000000${digit}`, incarnation: 1 })) as [
  { id: string; incarnation: number },
  { id: string; incarnation: number },
  { id: string; incarnation: number },
];

describe('a third site', () => {
  it('belongs to the first source that carries to it, in its newest incarnation', async () => {
    const site = new MemoryObjectStore();
    expect(await pairSite(site, SOURCE)).toEqual({ isNew: true });
    expect(await pairSite(site, SOURCE)).toEqual({ isNew: false });
    await expect(pairSite(site, OTHER)).rejects.toMatchObject({ code: 'carry.paired-elsewhere' });
    expect(await pairSite(site, { ...SOURCE, incarnation: 2 })).toEqual({ isNew: false });
    await expect(pairSite(site, SOURCE)).rejects.toMatchObject({ code: 'carry.older-database' });
    expect((await readPairings(site)).map(({ source }) => source.incarnation)).toEqual([1, 2]);
  });

  it('is not written to once it is the store of somebody who does not follow', async () => {
    const site = new MemoryObjectStore();
    await pairSite(site, SOURCE);
    await stampStore(site, THIRD);
    await expect(pairSite(site, SOURCE)).rejects.toMatchObject({ code: 'carry.taken-over' });
    await expect(acceptSource(site, THIRD, OTHER.id)).rejects.toMatchObject({ code: 'carry.paired-elsewhere' });
    await acceptSource(site, THIRD, SOURCE.id);
    await acceptSource(site, THIRD, SOURCE.id);
    expect(await pairSite(site, { ...SOURCE, incarnation: 2 })).toEqual({ isNew: false });
    expect((await readPairings(site)).at(-1)).toEqual({ source: { ...SOURCE, incarnation: 2 }, owner: THIRD.id });
  });

  it('is emptied by its source alone, and by nobody once another installation follows there or has it', async () => {
    const [followed, takenOver] = [new MemoryObjectStore(), new MemoryObjectStore()];
    expect(await isNeededByOthers(followed, SOURCE)).toBe(false);
    for (const site of [followed, takenOver]) {
      await pairSite(site, SOURCE);
      expect(await isNeededByOthers(site, SOURCE)).toBe(false);
      expect(await isNeededByOthers(site, OTHER)).toBe(true);
    }
    await acceptSource(followed, THIRD, SOURCE.id);
    await stampStore(takenOver, THIRD);
    for (const site of [followed, takenOver]) expect(await isNeededByOthers(site, SOURCE)).toBe(true);
    const later = new MemoryObjectStore();
    await pairSite(later, { ...SOURCE, incarnation: 2 });
    expect(await isNeededByOthers(later, SOURCE)).toBe(true);
  });

  it('is never the store itself', async () => {
    const site = new MemoryObjectStore();
    await stampStore(site, SOURCE);
    await expect(pairSite(site, SOURCE)).rejects.toMatchObject({ code: 'carry.own-store' });
    expect(await readPairings(site)).toEqual([]);
  });
});
