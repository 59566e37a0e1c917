import { mkdir, mkdtemp, open, readdir, readlink, rename, rm, stat, utimes, writeFile, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HOUR_MS } from '#libs/kernel';
import { FileObjectStore } from './file-object-store.js';
import { putBytes, sha256Hex } from './put-bytes.js';

describe('FileObjectStore', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-file-store-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('opens over what a crash left: removes old unfinished files, leaves young ones, shows neither', async () => {
    await putBytes(await FileObjectStore.open(directory), 'a/kept', Buffer.from('kept'));
    const old = join(directory, '.unfinished', 'old');
    const young = join(directory, '.unfinished', 'young');
    await writeFile(old, 'half an obj');
    await writeFile(young, 'half an obj');
    await utimes(old, new Date(0), new Date(0));

    const store = await FileObjectStore.open(directory);

    expect(await readdir(join(directory, '.unfinished'))).toEqual(['young']);
    expect(await keysOf(store)).toEqual(['a/kept']);
  });

  it('removes leftovers when asked, by their age', async () => {
    const store = await FileObjectStore.open(directory);
    await putBytes(store, 'a/kept', Buffer.from('kept'));
    for (const [name, hour] of [
      ['one', 1],
      ['two', 2],
      ['three', 3],
    ] as const) {
      const path = join(directory, '.unfinished', name);
      await writeFile(path, 'half an obj');
      await utimes(path, new Date(hour * HOUR_MS), new Date(hour * HOUR_MS));
    }
    expect(await store.removeLeftovers(new Date(3 * HOUR_MS))).toBe(2);
    expect(await readdir(join(directory, '.unfinished'))).toEqual(['three']);
    expect(await keysOf(store)).toEqual(['a/kept']);
  });

  it('does not take a directory that is gone, or another that is mounted over it, for an empty store', async () => {
    const root = join(directory, 'root');
    const store = await FileObjectStore.open(root);
    await putBytes(store, 'a/b', Buffer.from('b'));
    for (const vanish of [() => rename(root, join(directory, 'away')), () => mkdir(root)]) {
      await vanish();
      const unavailable = { code: 'object.store-unavailable' };
      await expect(keysOf(store)).rejects.toMatchObject(unavailable);
      await expect(store.head('a/b')).rejects.toMatchObject(unavailable);
      await expect(store.get('a/b')).rejects.toMatchObject(unavailable);
      await expect(store.stream('a/b')).rejects.toMatchObject(unavailable);
      await expect(store.delete('a/b')).rejects.toMatchObject(unavailable);
      await expect(store.removeLeftovers(new Date())).rejects.toMatchObject(unavailable);
      await expect(putBytes(store, 'a/c', Buffer.from('c'))).rejects.toMatchObject(unavailable);
    }
  });

  it('ends a list with an error when something vanishes under it', async () => {
    const store = await FileObjectStore.open(directory);
    for (const key of ['a/1', 'b/1', 'c/1']) await putBytes(store, key, Buffer.from(key));
    const listing = async (): Promise<void> => {
      for await (const { key } of store.list('')) if (key === 'a/1') await rm(join(directory, 'c'), { recursive: true });
    };
    await expect(listing()).rejects.toMatchObject({ code: 'object.listing-broken', kind: 'unavailable' });
  });

  it('takes up a put that a crash cut after the link, and answers that the object was there', async () => {
    const store = await FileObjectStore.open(directory);
    await mkdir(join(directory, 'a'));
    await writeFile(join(directory, 'a', 'linked'), 'whole');
    expect(await putBytes(store, 'a/linked', Buffer.from('whole'))).toEqual({ created: false });
  });

  it('never trusts the length alone of an object that is there', async () => {
    const store = await FileObjectStore.open(directory);
    await writeFile(join(directory, 'torn'), '\0\0\0\0\0');
    await expect(putBytes(store, 'torn', Buffer.from('whole'))).rejects.toMatchObject({ code: 'object.conflict' });
  });

  it('leaves no unfinished file behind a put that failed', async () => {
    const store = await FileObjectStore.open(directory);
    const options = { sizeBytes: 3, sha256: sha256Hex(Buffer.from('abc')) };
    await expect(store.put('a', Buffer.from('abx'), options)).rejects.toMatchObject({ code: 'object.hash-mismatch' });
    await expect(store.put('a', Buffer.from('abcd'), options)).rejects.toMatchObject({ code: 'object.size-mismatch' });
    expect(await readdir(join(directory, '.unfinished'))).toEqual([]);
  });

  it('syncs each file before it can be seen, and each directory that got or lost an entry before the answer', async () => {
    const store = await FileObjectStore.open(directory);
    const a = Buffer.from('a');
    const syncs = await recordSyncs();
    try {
      const syncsOf = async (work: () => Promise<unknown>): Promise<string[]> => {
        syncs.paths.length = 0;
        await work();
        return syncs.paths.map((path) => relative(directory, path).replace(/(?<=unfinished.).*/, '…'));
      };
      expect(await syncsOf(() => putBytes(store, 't/1/a', a))).toEqual(['.unfinished/…', '', 't', 't/1']);
      expect(await syncsOf(() => putBytes(store, 't/1/b', a))).toEqual(['.unfinished/…', 't/1']);
      expect(await syncsOf(() => putBytes(store, 't/2/a', a))).toEqual(['.unfinished/…', 't', 't/2']);
      expect(await syncsOf(() => putBytes(store, 'a', a))).toEqual(['.unfinished/…', '']);
      expect(await syncsOf(() => putBytes(store, 't/1/a', a)), 'again').toEqual(['t/1/a', 't/1']);
      expect(await syncsOf(() => store.delete('t/1/a'))).toEqual(['t/1']);
      expect(await syncsOf(() => store.delete('t/1/a')), 'again').toEqual(['t/1']);
      const another = await FileObjectStore.open(directory);
      expect(await syncsOf(() => putBytes(another, 't/1/c', a)), 'others made these').toEqual(['.unfinished/…', '', 't', 't/1']);
    } finally {
      syncs.stop();
    }
  });

  it('keeps its directories to itself', async () => {
    const root = join(directory, 'made', 'here');
    await putBytes(await FileObjectStore.open(root), 't/1/a', Buffer.from('a'));
    for (const path of ['', 't', 't/1', '.unfinished']) expect((await stat(join(root, path))).mode & 0o777).toBe(0o700);
    expect((await stat(join(root, 't/1/a'))).mode & 0o777).toBe(0o600);
  });

  it('makes directories anew that somebody removed', async () => {
    const store = await FileObjectStore.open(directory);
    await putBytes(store, 't/1/a', Buffer.from('a'));
    await rm(join(directory, 't'), { recursive: true });
    expect(await putBytes(store, 't/1/b', Buffer.from('b'))).toEqual({ created: true });
  });

  it('refuses a key that is the directory of another', async () => {
    const store = await FileObjectStore.open(directory);
    await putBytes(store, 'a/b', Buffer.from('b'));
    await expect(putBytes(store, 'a', Buffer.from('a'))).rejects.toMatchObject({ code: 'object.conflict' });
    await expect(putBytes(store, 'a/b/c', Buffer.from('c'))).rejects.toMatchObject({ code: 'object.conflict' });
    expect(await store.head('a')).toBeNull();
  });

  it('names a root that cannot be a directory', async () => {
    await writeFile(join(directory, 'file'), '');
    await expect(FileObjectStore.open(join(directory, 'file'))).rejects.toMatchObject({
      code: expect.stringMatching(/^object\./) as string,
    });
  });
});

async function keysOf(store: FileObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list('')) keys.push(key);
  return keys;
}

/** Which files and directories are synced, in their order, from now on until `stop`. */
async function recordSyncs(): Promise<{ paths: string[]; stop(): void }> {
  const handle = await open('/dev/null');
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  const { sync } = prototype;
  const paths: string[] = [];
  prototype.sync = async function (this: FileHandle): Promise<void> {
    paths.push(await readlink(`/proc/self/fd/${this.fd}`));
    await sync.call(this);
  };
  return { paths, stop: () => (prototype.sync = sync) };
}
