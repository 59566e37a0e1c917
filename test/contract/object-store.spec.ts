import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Redacted, SystemClock } from '#libs/kernel';
import {
  FaultyObjectStore,
  FileObjectStore,
  MemoryObjectStore,
  openObjectStore,
  putBytes,
  RetryingObjectStore,
  S3ObjectStore,
  sha256Hex,
  type ObjectStore,
  type ScriptedFault,
} from '#libs/object-store';
import { startS3Server, type S3Server } from '../support/ceph-rgw.js';

interface Opened {
  readonly store: ObjectStore;
  close(): Promise<void>;
}

const stores: Record<string, () => Promise<Opened>> = {
  MemoryObjectStore: async () => ({ store: new MemoryObjectStore(), close: async () => {} }),

  FileObjectStore: openFileStore,

  'RetryingObjectStore over FaultyObjectStore': async () => {
    const { store, close } = await openFileStore();
    const script: ScriptedFault[] = Array.from({ length: 200 }, (_, index) => ({
      call: 2 * index + 1,
      fault: index % 2 === 0 ? 'unavailable' : 'answer-lost',
    }));
    const policy = { attemptsMax: 20, firstDelayMs: 1, delayMaxMs: 2 };
    return { store: new RetryingObjectStore(new FaultyObjectStore(store, script), policy, new SystemClock()), close };
  },

  'S3ObjectStore on Ceph': async () => {
    const server = await s3Server();
    const store = await openObjectStore(`s3://${await server.makeBucket()}/some/prefix`, server.access);
    return { store, close: async () => (store as S3ObjectStore).close() };
  },
};

async function openFileStore(): Promise<Opened> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-store-'));
  return { store: await FileObjectStore.open(directory), close: () => rm(directory, { recursive: true }) };
}

/** One server for the file. */
let starting: Promise<S3Server> | undefined;
const s3Server = (): Promise<S3Server> => (starting ??= startS3Server());
afterAll(async () => {
  await starting?.then((server) => server.stop()).catch(() => {});
});

describe.each(Object.keys(stores))('%s', (name) => {
  let store: ObjectStore;
  let close = async (): Promise<void> => {};
  const bytes = randomBytes(300_000);
  const declared = { sizeBytes: bytes.byteLength, sha256: sha256Hex(bytes) };
  const answersGetLost = name.startsWith('Retrying');

  beforeAll(async () => {
    ({ store, close } = await stores[name]!());
  });
  afterAll(() => close());

  it('gives back what was put, whole and by range', async () => {
    const { created } = await putBytes(store, 't/1/whole', bytes);
    if (!answersGetLost) expect(created).toBe(true);
    expect(await store.get('t/1/whole')).toEqual(bytes);
    expect(await store.get('t/1/whole', { offset: 0, length: 1 })).toEqual(bytes.subarray(0, 1));
    expect(await store.get('t/1/whole', { offset: 299_000, length: 1000 })).toEqual(bytes.subarray(299_000));
    expect(await store.head('t/1/whole')).toEqual({ sizeBytes: 300_000 });
  });

  it('streams in and out', async () => {
    const put = () => store.put('t/1/streamed', pieces(bytes, 70_001), declared);
    await again(put);
    expect(await collect(await store.stream('t/1/streamed'))).toEqual(bytes);
    expect(await collect(await store.stream('t/1/streamed', { offset: 5, length: 200_000 }))).toEqual(bytes.subarray(5, 200_005));
  });

  it('holds objects without a byte', async () => {
    await putBytes(store, 't/1/empty', new Uint8Array());
    expect(await store.get('t/1/empty')).toHaveLength(0);
    expect(await collect(await store.stream('t/1/empty'))).toHaveLength(0);
    await expect(store.get('t/1/empty', { offset: 0, length: 1 })).rejects.toMatchObject({ code: 'object.range-invalid' });
  });

  it('refuses ranges that leave the object, and knows nothing of what is not there', async () => {
    await putBytes(store, 't/1/ranges', bytes);
    const ranges = [
      { offset: 299_999, length: 2 },
      { offset: 300_000, length: 1 },
      { offset: 1, length: 300_000 },
      { offset: -1, length: 10 },
      { offset: 0, length: 0 },
      { offset: 0.5, length: 10 },
      { offset: 0, length: Number.MAX_SAFE_INTEGER },
    ];
    for (const range of ranges) {
      await expect(store.get('t/1/ranges', range), JSON.stringify(range)).rejects.toMatchObject({ code: 'object.range-invalid' });
      await expect(readStream(store, 't/1/ranges', range)).rejects.toMatchObject({ code: 'object.range-invalid' });
    }
    await expect(store.get('t/1/nothing')).rejects.toMatchObject({ code: 'object.not-found', kind: 'not-found' });
    await expect(store.get('t/1/ranges/below')).rejects.toMatchObject({ code: 'object.not-found' });
    await expect(readStream(store, 't/1/nothing')).rejects.toMatchObject({ code: 'object.not-found' });
    expect(await store.head('t/1/nothing')).toBeNull();
  });

  it('answers a repeated put without creating, and leaves other content alone', async () => {
    const other = randomBytes(bytes.byteLength);
    await putBytes(store, 't/1/repeated', bytes);
    expect(await putBytes(store, 't/1/repeated', bytes)).toEqual({ created: false });
    await expect(putBytes(store, 't/1/repeated', other)).rejects.toMatchObject({ code: 'object.conflict', kind: 'conflict' });
    await expect(putBytes(store, 't/1/repeated', bytes.subarray(1))).rejects.toMatchObject({ code: 'object.conflict' });
    expect(await store.get('t/1/repeated')).toEqual(bytes);
  });

  it('lets one of many equal puts create', async () => {
    const outcomes = await Promise.all(Array.from({ length: 8 }, () => putBytes(store, 't/1/raced', bytes)));
    if (name === 'FileObjectStore') expect(outcomes.filter(({ created }) => created)).toHaveLength(1);
    expect(await store.get('t/1/raced')).toEqual(bytes);
  });

  it.each([
    ['shorter than declared', bytes.subarray(1), 'object.size-mismatch'],
    ['longer than declared', Buffer.concat([bytes, bytes]), 'object.size-mismatch'],
    ['other than declared', Buffer.concat([bytes.subarray(1), Buffer.from([bytes[0]! ^ 1])]), 'object.hash-mismatch'],
  ])('leaves nothing of a body that is %s', async (_what, body, code) => {
    for (const form of [() => body, () => pieces(body, 65_536)]) {
      const put = () => store.put('t/1/wrong', form(), declared);
      await expect(again(put)).rejects.toMatchObject({ code, kind: 'invalid' });
      expect(await store.head('t/1/wrong')).toBeNull();
    }
    expect((await list(store, '')).filter((key) => key.includes('wrong'))).toEqual([]);
  });

  it('leaves nothing of a body that breaks, nor of an aborted put', async () => {
    await expect(store.put('t/1/broken', breaking(bytes), declared)).rejects.toThrow();
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(store.put('t/1/broken', bytes, { ...declared, signal })).rejects.toThrow();
    expect(await store.head('t/1/broken')).toBeNull();
  });

  it('checks the body also where the object is there already', async () => {
    await putBytes(store, 't/1/again', bytes);
    const put = () => store.put('t/1/again', randomBytes(bytes.byteLength), declared);
    await expect(put()).rejects.toMatchObject({ code: 'object.hash-mismatch' });
    expect(await store.get('t/1/again')).toEqual(bytes);
  });

  it('lists by prefix, in the order of keys, over many pages', async () => {
    const keys = ['l/a', 'l/a-b', 'l/a.b', 'l/a0', 'l/b/1', 'l/b/10', 'l/b/2', 'l/b-1', 'l/b.1', 'm/a'];
    for (const key of keys) await putBytes(store, key, Buffer.from(key));
    const expected = keys.filter((key) => key.startsWith('l/')).sort();
    expect(await list(store, 'l/')).toEqual(expected);
    expect(await list(store, 'l/b')).toEqual(expected.filter((key) => key.startsWith('l/b')));
    expect(await list(store, 'l/b/1')).toEqual(['l/b/1', 'l/b/10']);
    expect(await list(store, 'l/nothing/')).toEqual([]);
    expect(await list(store, '')).toEqual(expect.arrayContaining(['m/a', ...expected]));
    for await (const { key, sizeBytes } of store.list('l/')) expect(sizeBytes).toBe(key.length);
  });

  it('deletes, and does not mind deleting nothing', async () => {
    await putBytes(store, 't/1/deleted', bytes);
    await store.delete('t/1/deleted');
    await store.delete('t/1/deleted');
    await store.delete('t/1/never/was');
    expect(await store.head('t/1/deleted')).toBeNull();
    await putBytes(store, 't/1/deleted', Buffer.from('anew'));
    expect(await store.get('t/1/deleted')).toEqual(Buffer.from('anew'));
  });

  it.each(['', '/', 'a/', '/a', 'a//b', '..', 'a/../b', './a', 'a/.hidden', 'A', 'a b', 'a\0', 'ä', 'a\\b', 'a'.repeat(513)])(
    'refuses the key %j',
    async (key) => {
      const refused = { code: 'object.key-invalid', kind: 'invalid' };
      await expect(store.put(key, bytes, declared)).rejects.toMatchObject(refused);
      await expect(store.get(key)).rejects.toMatchObject(refused);
      await expect(store.head(key)).rejects.toMatchObject(refused);
      await expect(store.delete(key)).rejects.toMatchObject(refused);
    },
  );
});

describe('S3ObjectStore', () => {
  let server: S3Server;
  beforeAll(async () => {
    server = await s3Server();
  });

  it('compares an object that came without its hash as metadata by reading it', async () => {
    const bucket = await server.makeBucket();
    const { endpoint, accessKeyId, secretAccessKey } = server.access;
    const credentials = { accessKeyId, secretAccessKey: secretAccessKey.reveal() };
    const client = new S3Client({ endpoint, forcePathStyle: true, region: 'us-east-1', credentials });
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'p/foreign', Body: Buffer.from('from elsewhere') }));
    client.destroy();
    const store = await openObjectStore(`s3://${bucket}/p`, server.access);
    expect(await putBytes(store, 'foreign', Buffer.from('from elsewhere'))).toEqual({ created: false });
    await expect(putBytes(store, 'foreign', Buffer.from('from elsewherE'))).rejects.toMatchObject({ code: 'object.conflict' });
  });

  it('lists more than one page', async () => {
    const store = await openObjectStore(`s3://${await server.makeBucket()}`, server.access);
    const keys = Array.from({ length: 1001 }, (_, index) => `k/${String(index).padStart(4, '0')}`);
    for (let from = 0; from < keys.length; from += 50) {
      await Promise.all(keys.slice(from, from + 50).map((key) => putBytes(store, key, Buffer.from(key))));
    }
    expect(await list(store, 'k/')).toEqual(keys);
  });

  it('is refused with wrong credentials, and told of a bucket that is missing', async () => {
    const bucket = await server.makeBucket();
    const stranger = await openObjectStore(`s3://${bucket}`, { ...server.access, secretAccessKey: new Redacted('wrong') });
    await expect(putBytes(stranger, 'a', Buffer.from('a'))).rejects.toMatchObject({ code: 'object.store-forbidden' });
    const nowhere = await openObjectStore('s3://holdfast-no-such-bucket', server.access);
    await expect(putBytes(nowhere, 'a', Buffer.from('a'))).rejects.toMatchObject({ code: 'object.bucket-missing' });
  });

  it('says that a server that is not there is unavailable', async () => {
    const access = { endpoint: 'http://127.0.0.1:1', accessKeyId: 'nobody', secretAccessKey: new Redacted('nothing') };
    const store = await openObjectStore('s3://bucket', access);
    await expect(store.head('a')).rejects.toMatchObject({ code: 'object.store-unavailable', isRetryable: true });
    await expect(putBytes(store, 'a', Buffer.from('a'))).rejects.toMatchObject({ code: 'object.store-unavailable' });
  });
});

async function* pieces(bytes: Uint8Array, pieceBytes: number): AsyncIterable<Uint8Array> {
  for (let offset = 0; offset < bytes.byteLength; offset += pieceBytes) yield bytes.subarray(offset, offset + pieceBytes);
}

async function* breaking(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes.subarray(0, 100_000);
  yield bytes.subarray(100_000, 200_000);
  throw new Error('the sender is gone');
}

/** A body that is a stream cannot be sent again by the store: whoever made it repeats the put. */
async function again<T>(work: () => Promise<T>): Promise<T> {
  return work().catch((error: { code?: string }) => {
    if (error.code === 'object.store-unavailable') return work();
    throw error;
  });
}

async function readStream(store: ObjectStore, key: string, range?: { offset: number; length: number }): Promise<Buffer> {
  return collect(await store.stream(key, range));
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const found: Uint8Array[] = [];
  for await (const piece of stream) found.push(piece);
  return Buffer.concat(found);
}

async function list(store: ObjectStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}
