import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { stampStore } from '#libs/chain';
import { CodedError, DAY_MS, SilentLogger, SystemClock } from '#libs/kernel';
import { FileObjectStore, putBytes } from '#libs/object-store';
import { ThirdSites } from '../third-sites.js';
import { RemoveLeftovers } from './remove-leftovers.js';

let directory: string;
beforeEach(async () => void (directory = await mkdtemp(join(tmpdir(), 'leftovers-'))));
afterEach(() => rm(directory, { recursive: true }));

const OWN = { id: '01890000-0000-7000-8000-000000000001', incarnation: 1 };
const OTHER = { ...OWN, id: '01890000-0000-7000-8000-000000000002' };

it('removes what unfinished uploads left a day ago in each store, and neither younger ones nor any object; nothing where another installation is', async () => {
  const third = join(directory, 'third');
  const stores = {
    own: await FileObjectStore.open(join(directory, 'own')),
    third: await FileObjectStore.open(third),
    taken: await FileObjectStore.open(join(directory, 'taken')),
  };
  await stampStore(stores.taken, OTHER);
  const ago = (ms: number): Date => new Date(Date.now() - ms);
  for (const [name, store] of Object.entries(stores)) {
    await putBytes(store, 'o/00001', Buffer.from('an object'));
    await utimes(join(directory, name, 'o/00001'), ago(9 * DAY_MS), ago(9 * DAY_MS));
    for (const [file, ageMs] of [
      ['old', DAY_MS + 60_000],
      ['young', DAY_MS - 60_000],
    ] as const) {
      const path = join(directory, name, '.unfinished', file);
      await writeFile(path, 'half of it');
      await utimes(path, ago(ageMs), ago(ageMs));
    }
  }
  const away = (): Promise<never> => Promise.reject(new CodedError('object.store-unavailable', 'unavailable', 'away'));
  const sites = new ThirdSites({ away, third: async () => stores.third, taken: async () => stores.taken });
  await new RemoveLeftovers(stores.own, sites, new SystemClock(), async () => OWN).run({ logger: new SilentLogger() });
  for (const [name, store] of Object.entries(stores)) {
    expect(await readdir(join(directory, name, '.unfinished')), name).toEqual(name === 'taken' ? ['old', 'young'] : ['young']);
    expect(await store.head('o/00001')).toEqual({ sizeBytes: 9 });
  }
});
