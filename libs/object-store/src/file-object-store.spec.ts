import { mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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
