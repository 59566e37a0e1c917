import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { DAY_MS, SilentLogger, SystemClock } from '#libs/kernel';
import { FileObjectStore, putBytes } from '#libs/object-store';
import { RemoveLeftovers } from './remove-leftovers.js';

let directory: string;
beforeEach(async () => void (directory = await mkdtemp(join(tmpdir(), 'leftovers-'))));
afterEach(() => rm(directory, { recursive: true }));

it('removes what unfinished uploads left a day ago, and neither younger ones nor any object', async () => {
  const store = await FileObjectStore.open(directory);
  await putBytes(store, 'i/00001', Buffer.from('an object'));
  const [old, young] = ['old', 'young'].map((name) => join(directory, '.unfinished', name));
  for (const path of [old!, young!]) await writeFile(path, 'half of it');
  const ago = (ms: number): Date => new Date(Date.now() - ms);
  await utimes(old!, ago(DAY_MS + 60_000), ago(DAY_MS + 60_000));
  await utimes(young!, ago(DAY_MS - 60_000), ago(DAY_MS - 60_000));
  await utimes(join(directory, 'i/00001'), ago(9 * DAY_MS), ago(9 * DAY_MS));
  await new RemoveLeftovers(store, new SystemClock()).run({ logger: new SilentLogger() });
  expect(await readdir(join(directory, '.unfinished'))).toEqual(['young']);
  expect(await store.head('i/00001')).toEqual({ sizeBytes: 9 });
});
