import { randomBytes } from 'node:crypto';
import {
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DAY_MS, Redacted, SECOND_MS } from '#libs/kernel';
import { openObjectStore, putBytes, sha256Hex, type ObjectStore } from '#libs/object-store';
import { rawS3Client, type S3Server } from '../support/ceph-rgw.js';
import { S3FaultProxy, type SeenRequest, type Spoiling } from '../support/s3-fault-proxy.js';
import { list } from './object-store-kit.js';

/** What the S3 adapter promises beyond the port, or keeps only because it knows S3. */
export function describeS3Store(startServer: () => Promise<S3Server>): void {
  let server: S3Server;
  let raw: S3Client;
  beforeAll(async () => {
    server = await startServer();
    raw = rawS3Client(server.access);
  });
  afterAll(() => raw?.destroy());

  const open = (bucket: string, access: Partial<S3Server['access']> = {}): Promise<ObjectStore> =>
    openObjectStore(`s3://${bucket}/p`, { ...server.access, ...access });

  describe('S3ObjectStore', () => {
    it('compares an object that came without its hash as metadata by reading it', async () => {
      const bucket = await server.makeBucket();
      await raw.send(new PutObjectCommand({ Bucket: bucket, Key: 'p/foreign', Body: Buffer.from('from elsewhere') }));
      const store = await open(bucket);
      expect(await putBytes(store, 'foreign', Buffer.from('from elsewhere'))).toEqual({ created: false });
      await expect(putBytes(store, 'foreign', Buffer.from('from elsewherE'))).rejects.toMatchObject({ code: 'object.conflict' });
    });

    it('is refused with wrong credentials, and told of a bucket that is missing', async () => {
      const stranger = await open(await server.makeBucket(), { secretAccessKey: new Redacted('wrong') });
      await expect(putBytes(stranger, 'a', Buffer.from('a'))).rejects.toMatchObject({ code: 'object.store-forbidden' });
      await expect(list(stranger, '')).rejects.toMatchObject({ code: 'object.store-forbidden' });
      const nowhere = await open('holdfast-no-such-bucket');
      await expect(putBytes(nowhere, 'a', Buffer.from('a'))).rejects.toMatchObject({ code: 'object.bucket-missing' });
      await expect(list(nowhere, '')).rejects.toMatchObject({ code: 'object.bucket-missing' });
    });

    it('says that a server that is not there is unavailable', async () => {
      const store = await open('bucket', { endpoint: 'http://127.0.0.1:1' });
      await expect(store.head('a')).rejects.toMatchObject({ code: 'object.store-unavailable', isRetryable: true });
      await expect(putBytes(store, 'a', Buffer.from('a'))).rejects.toMatchObject({ code: 'object.store-unavailable' });
      await expect(list(store, '')).rejects.toMatchObject({ code: 'object.store-unavailable' });
    });

    it('ends uploads that were begun before the given time, under its own prefix', async () => {
      const bucket = await server.makeBucket();
      const store = await open(bucket);
      const begin = (Key: string) => raw.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key }));
      for (const key of ['p/a', 'p/a', 'p/b/c', 'other']) await begin(key);
      const left = async () => ((await raw.send(new ListMultipartUploadsCommand({ Bucket: bucket }))).Uploads ?? []).map(({ Key }) => Key);
      expect(await store.removeLeftovers(new Date(Date.now() - DAY_MS))).toBe(0);
      expect(await left()).toHaveLength(4);
      expect(await store.removeLeftovers(new Date(Date.now() + DAY_MS))).toBe(3);
      expect(await left()).toEqual(['other']);
      expect(await store.removeLeftovers(new Date(Date.now() + DAY_MS))).toBe(0);
    });
  });

  describe('a listing of S3', () => {
    const keys = Array.from({ length: 1001 }, (_, index) => `k/${String(index).padStart(4, '0')}`);
    let proxy: S3FaultProxy;
    let store: ObjectStore;
    beforeAll(async () => {
      const bucket = await server.makeBucket();
      const direct = await open(bucket);
      for (let from = 0; from < keys.length; from += 50) {
        await Promise.all(keys.slice(from, from + 50).map((key) => putBytes(direct, key, Buffer.from(key))));
      }
      proxy = await S3FaultProxy.start(server.access.endpoint);
      store = await open(bucket, { endpoint: proxy.endpoint });
    });
    afterAll(() => proxy?.stop());
    beforeEach(() => {
      proxy.spoil = () => undefined;
    });

    it('has all its pages', async () => {
      expect(await list(store, 'k/')).toEqual(keys);
    });

    const edit = (change: (page: string) => string): Spoiling => ({ edit: change });
    const broken = 'object.listing-broken';
    const unavailable = 'object.store-unavailable';
    it.each<[what: string, page: 1 | 2, spoiling: Spoiling, code: string]>([
      ['is refused', 2, { status: 500 }, unavailable],
      ['is busy', 2, { status: 503 }, unavailable],
      ['is cut off', 2, 'cut', unavailable],
      ['is empty', 1, edit(() => ''), broken],
      ['is empty', 2, edit(() => ''), broken],
      ['is of another kind', 1, edit(() => '<html><body>Sign in</body></html>'), broken],
      ['ends in the middle', 1, edit((page) => page.slice(0, page.length / 2)), unavailable],
      ['ends in the middle', 2, edit((page) => page.slice(0, page.length / 2)), unavailable],
      ['does not say whether it is the last', 1, edit((page) => page.replace(/<IsTruncated>.*<\/IsTruncated>/, '')), broken],
      ['does not say how to go on', 1, edit((page) => page.replace(/<NextContinuationToken>.*<\/NextContinuationToken>/, '')), broken],
      ['lacks an object', 1, edit((page) => page.replace(/<Contents>.*?<\/Contents>/s, '')), broken],
      ['lacks a name', 1, edit((page) => page.replace(/<Key>.*?<\/Key>/, '')), broken],
      ['has them twice', 1, edit((page) => page.replace(/<Contents>.*?<\/Contents>/s, '$&$&')), broken],
      ['has those of another prefix', 1, edit((page) => page.replaceAll('<Key>p/k/', '<Key>p/q/')), broken],
    ])('whose page %s fails (page %i)', async (_what, page, spoiling, code) => {
      let pages = 0;
      proxy.spoil = ({ query }) => (query.get('list-type') === '2' && (pages += 1) === page ? spoiling : undefined);
      await expect(list(store, 'k/')).rejects.toMatchObject({ code, kind: 'unavailable' });
    });
  });

  describe('a versioned bucket', () => {
    let bucket: string;
    let store: ObjectStore;
    const bytes = randomBytes(1000);
    beforeEach(async () => {
      bucket = await server.makeBucket({ isVersioned: true });
      store = await open(bucket);
    });

    const putRaw = (key: string, Body = bytes) => raw.send(new PutObjectCommand({ Bucket: bucket, Key: `p/${key}`, Body }));
    const hide = (key: string) => raw.send(new DeleteObjectCommand({ Bucket: bucket, Key: `p/${key}` }));
    const kept = async (): Promise<string[]> => {
      const { Versions = [], DeleteMarkers = [] } = await raw.send(new ListObjectVersionsCommand({ Bucket: bucket }));
      return [...Versions.map(({ Key }) => Key ?? ''), ...DeleteMarkers.map(({ Key }) => `-${Key}`)].sort();
    };

    it('keeps nothing of what was deleted: no version, no marker', async () => {
      await Promise.all(Array.from({ length: 4 }, () => putBytes(store, 'a', bytes)));
      await putBytes(store, 'a.b', bytes);
      await putBytes(store, 'a/b', bytes);
      await store.delete('a');
      await store.delete('a');
      expect(await kept()).toEqual(['p/a.b', 'p/a/b']);
    });

    it('has no object under a delete marker, and has it again by the next put; a delete ends both', async () => {
      await putBytes(store, 'a', bytes);
      await hide('a');
      expect(await store.head('a')).toBeNull();
      await expect(store.get('a')).rejects.toMatchObject({ code: 'object.not-found' });
      await expect(store.stream('a')).rejects.toMatchObject({ code: 'object.not-found' });
      expect(await list(store, '')).toEqual([]);
      expect(await putBytes(store, 'a', bytes)).toEqual({ created: true });
      expect(await store.get('a')).toEqual(bytes);
      await hide('a');
      await store.delete('a');
      expect(await kept()).toEqual([]);
    });

    it('is found out also when versioning was turned on since, or suspended', async () => {
      bucket = await server.makeBucket();
      const unaware = await Promise.all([open(bucket), open(bucket)]);
      for (const [index, Status] of (['Enabled', 'Suspended'] as const).entries()) {
        const store = unaware[index]!;
        await putBytes(store, 'gone', bytes);
        await store.delete('gone');
        expect(await kept()).toEqual([]);
        await putBytes(store, 'before', bytes);
        await raw.send(new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration: { Status } }));
        await putBytes(store, 'after', bytes);
        for (const key of ['before', 'after', 'never']) await store.delete(key);
        expect(await kept()).toEqual([]);
      }
      const late = await open(bucket);
      await putBytes(late, 'suspended', bytes);
      await late.delete('suspended');
      expect(await kept()).toEqual([]);
    });

    it('has the object whole or not at all wherever a delete breaks off, never an older version', async () => {
      const proxy = await S3FaultProxy.start(server.access.endpoint);
      const through = await open(bucket, { endpoint: proxy.endpoint });
      const isDelete = ({ method }: SeenRequest): boolean => method === 'DELETE';
      for (const [broken, spoiling] of [1, 2, 3].flatMap((n) => [[n, 'cut'] as const, [n, 'lose-answer'] as const])) {
        for (const older of ['oldest', 'older']) await putRaw('a', Buffer.from(older));
        await putRaw('a');
        let deletes = 0;
        proxy.spoil = (request) => (isDelete(request) && (deletes += 1) === broken ? spoiling : undefined);
        await expect(through.delete('a')).rejects.toMatchObject({ code: 'object.store-unavailable' });
        if ((await store.head('a')) !== null) expect(await store.get('a')).toEqual(bytes);
        else expect(await kept()).toEqual([]);
        await through.delete('a');
        expect(await kept()).toEqual([]);
      }
      await proxy.stop();
    });
  });

  describe('a bucket with Object Lock', () => {
    const bytes = Buffer.from('held');
    const declared = { sizeBytes: bytes.byteLength, sha256: sha256Hex(bytes) };

    it('locks in the mode of its default rule', async () => {
      expect(await (await open(await server.makeBucket({ objectLock: 'GOVERNANCE' }))).locking()).toBe('governance');
      expect(await (await open(await server.makeBucket({ objectLock: 'COMPLIANCE' }))).locking()).toBe('compliance');
      expect(await (await open(await server.makeBucket({ objectLock: true }))).locking()).toBe('compliance');
      expect(await (await open(await server.makeBucket({ isVersioned: true }))).locking()).toBe('none');
      expect(await (await open(await server.makeBucket())).locking()).toBe('none');
    });

    it('keeps a locked object in sight: what may be deleted of its key may be gone, never the object', async () => {
      const bucket = await server.makeBucket({ objectLock: true });
      const store = await open(bucket);
      await raw.send(new PutObjectCommand({ Bucket: bucket, Key: 'p/a', Body: 'older' }));
      await raw.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'p/a' }));
      await store.put('a', bytes, { ...declared, lockedUntil: new Date(Date.now() + 60 * SECOND_MS) });
      await expect(store.delete('a')).rejects.toMatchObject({ code: 'object.locked' });
      expect(await store.get('a')).toEqual(bytes);
      expect(await list(store, '')).toEqual(['a']);
    });

    it('locks what goes in parts', async () => {
      const store = await open(await server.makeBucket({ objectLock: true }), { multipartAboveBytes: 0 });
      await store.put('a', bytes, { ...declared, lockedUntil: new Date(Date.now() + 60 * SECOND_MS) });
      await expect(store.delete('a')).rejects.toMatchObject({ code: 'object.locked' });
    });
  });
}
