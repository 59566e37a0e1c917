import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { CodedError, DAY_MS, SilentLogger, SystemClock } from '#libs/kernel';
import { FileObjectStore, putBytes } from '#libs/object-store';
import { ThirdSites } from '../third-sites.js';
import { RemoveLeftovers } from './remove-leftovers.js';

let directory: string;
beforeEach(async () => void (directory = await mkdtemp(join(tmpdir(), 'leftovers-'))));
afterEach(() => rm(directory, { recursive: true }));

it('removes what unfinished uploads left a day ago in each store, and neither younger ones nor any object', async () => {
  const third = join(directory, 'third');
  const stores = { own: await FileObjectStore.open(join(directory, 'own')), third: await FileObjectStore.open(third) };
  const ago = (ms: number): Date => new Date(Date.now() - ms);
  for (const [name, store] of Object.entries(stores)) {
    await putBytes(store, 'i/00001', Buffer.from('an object'));
    await utimes(join(directory, name, 'i/00001'), ago(9 * DAY_MS), ago(9 * DAY_MS));
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
  const sites = new ThirdSites({ away, third: async () => stores.third });
  await new RemoveLeftovers(stores.own, sites, new SystemClock()).run({ logger: new SilentLogger() });
  for (const [name, store] of Object.entries(stores)) {
    expect(await readdir(join(directory, name, '.unfinished')), name).toEqual(['young']);
    expect(await store.head('i/00001')).toEqual({ sizeBytes: 9 });
  }
});
