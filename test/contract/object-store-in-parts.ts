import { createHash } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ListMultipartUploadsCommand, type S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MIB } from '#libs/kernel';
import { openObjectStore, type ObjectStore, type PutOptions } from '#libs/object-store';
import { rawS3Client, type S3Server } from '../support/ceph-rgw.js';
import { count } from '../support/counts.js';
import { S3FaultProxy, type SeenRequest, type Spoiling } from '../support/s3-fault-proxy.js';

const PIECE_BYTES = 300_007;
const PART_BYTES = 5 * MIB;

/** The same bytes each time, made as they are read: each piece anew, or in the buffers of `ring` by turns. */
function* content(sizeBytes: number, ring?: readonly Buffer[]): Generator<Buffer> {
  for (let index = 0; index * PIECE_BYTES < sizeBytes; index += 1) {
    const piece = ring?.[index % ring.length] ?? Buffer.alloc(PIECE_BYTES);
    piece.fill(createHash('sha256').update(String(index)).digest());
    yield piece.subarray(0, Math.min(PIECE_BYTES, sizeBytes - index * PIECE_BYTES));
  }
}

async function* streamed(pieces: Iterable<Buffer>): AsyncGenerator<Buffer> {
  for (const piece of pieces) yield piece;
}

function declarationOf(sizeBytes: number): PutOptions {
  const hash = createHash('sha256');
  for (const piece of content(sizeBytes, [Buffer.alloc(PIECE_BYTES)])) hash.update(piece);
  return { sizeBytes, sha256: hash.digest('hex') };
}

async function hashOf(pieces: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

/** Bodies that are sent to S3 in parts. */
export function describeBodiesInParts(startServer: () => Promise<S3Server>): void {
  describe('a body sent in parts', () => {
    let server: S3Server;
    let raw: S3Client;
    let bucket: string;
    let proxy: S3FaultProxy;
    let store: ObjectStore;
    const sizeBytes = 2 * PART_BYTES + 12_345;
    const declared = declarationOf(sizeBytes);
    const unfinished = async () => (await raw.send(new ListMultipartUploadsCommand({ Bucket: bucket }))).Uploads ?? [];
    const partsSeen = (): string[] => proxy.seen.flatMap(({ query }) => query.get('partNumber') ?? []).sort();

    beforeAll(async () => {
      server = await startServer();
      raw = rawS3Client(server.access);
      bucket = await server.makeBucket();
      proxy = await S3FaultProxy.start(server.access.endpoint);
      const access = { ...server.access, endpoint: proxy.endpoint, multipartAboveBytes: PART_BYTES, partBytes: PART_BYTES };
      store = await openObjectStore(`s3://${bucket}/p`, access);
    });
    afterAll(async () => {
      raw?.destroy();
      await proxy?.stop();
    });
    beforeEach(async () => {
      proxy.spoil = () => undefined;
      proxy.seen.length = 0;
      await store.delete('a');
    });

    const put = (options: PutOptions = declared): Promise<unknown> => store.put('a', streamed(content(sizeBytes)), options);
    const expectNothing = async (): Promise<void> => {
      expect(await store.head('a')).toBeNull();
      expect(await unfinished()).toEqual([]);
    };

    it('is the object afterwards, and is known again', async () => {
      expect(await put()).toEqual({ created: true });
      expect(partsSeen()).toEqual(['1', '2', '3']);
      expect(await store.head('a')).toEqual({ sizeBytes });
      expect(await hashOf(await store.stream('a'))).toBe(declared.sha256);
      expect(await put()).toEqual({ created: false });
      expect(await store.put('a', Buffer.concat([...content(sizeBytes)]), declared)).toEqual({ created: false });
      const other = declarationOf(sizeBytes - 1);
      await expect(store.put('a', streamed(content(sizeBytes - 1)), other)).rejects.toMatchObject({ code: 'object.conflict' });
    });

    it('may be bytes that are there already, and end where a part does', async () => {
      const whole = Buffer.concat([...content(2 * PART_BYTES)]);
      await store.put('a', whole, declarationOf(whole.length));
      expect(partsSeen()).toEqual(['1', '2']);
      expect(whole.equals(await store.get('a'))).toBe(true);
    });

    const isPart =
      (number: number) =>
      ({ query }: SeenRequest): boolean =>
        query.get('partNumber') === String(number);
    const isBegin = ({ method, query }: SeenRequest): boolean => method === 'POST' && query.has('uploads');
    const isEnd = ({ method, query }: SeenRequest): boolean => method === 'POST' && query.has('uploadId');
    it.each<[what: string, which: (request: SeenRequest) => boolean, spoiling: Spoiling, times: number]>([
      ['its beginning is refused', isBegin, { status: 503 }, 2],
      ['a part is refused', isPart(2), { status: 500 }, 2],
      ['a part is cut', isPart(1), 'cut', 1],
      ['the last part is damaged on the way', isPart(3), 'flip', 1],
      ['the answer to a part is lost', isPart(2), 'lose-answer', 1],
      ['its end is refused', isEnd, { status: 503 }, 1],
      ['the answer to its end is lost', isEnd, 'lose-answer', 1],
    ])('arrives though %s', async (_what, which, spoiling, times) => {
      let left = times;
      proxy.spoil = (request) => (which(request) && left-- > 0 ? spoiling : undefined);
      expect(await put()).toEqual({ created: true });
      expect(left).toBeLessThan(0);
      expect(await hashOf(await store.stream('a'))).toBe(declared.sha256);
      expect(await unfinished()).toEqual([]);
    });

    it.each<[what: string, which: (request: SeenRequest) => boolean]>([
      ['one part', isPart(2)],
      ['its end', isEnd],
    ])('leaves nothing where %s never gets through', async (_what, which) => {
      proxy.spoil = (request) => (which(request) ? { status: 500 } : undefined);
      await expect(put()).rejects.toMatchObject({ code: 'object.store-unavailable' });
      await expectNothing();
    });

    it('leaves nothing where it is not what was declared, breaks, or is given up', async () => {
      const longer = { ...declared, sizeBytes: sizeBytes + 1 };
      await expect(put(longer)).rejects.toMatchObject({ code: 'object.size-mismatch' });
      await expectNothing();
      await expect(put({ ...declared, sizeBytes: sizeBytes - 1 })).rejects.toMatchObject({ code: 'object.size-mismatch' });
      await expectNothing();
      await expect(put({ ...declared, sha256: '0'.repeat(64) })).rejects.toMatchObject({ code: 'object.hash-mismatch' });
      await expectNothing();
      const breaking = async function* () {
        yield* streamed(content(PART_BYTES + 1));
        throw new Error('the sender is gone');
      };
      await expect(store.put('a', breaking(), declared)).rejects.toThrow('the sender is gone');
      await expectNothing();
      const caller = new AbortController();
      proxy.spoil = (request) => {
        if (isPart(2)(request)) caller.abort(new Error('enough'));
        return undefined;
      };
      await expect(put({ ...declared, signal: caller.signal })).rejects.toThrow();
      await expectNothing();
    });

    it('takes no more memory than its parts in flight', { timeout: 600_000 }, async () => {
      const partBytes = count(5, 16) * MIB;
      const large = count(64, 512) * MIB;
      const direct = await openObjectStore(`s3://${bucket}/p`, { ...server.access, multipartAboveBytes: partBytes, partBytes });
      const options = declarationOf(large);
      let peakBytes = 0;
      collectGarbage();
      const beforeBytes = process.memoryUsage().arrayBuffers;
      // Pieces in a ring of buffers, so that the source itself leaves no garbage to be counted.
      const ring = Array.from({ length: 8 }, () => Buffer.alloc(PIECE_BYTES));
      const watched = async function* () {
        for (const piece of content(large, ring)) {
          yield piece;
          peakBytes = Math.max(peakBytes, process.memoryUsage().arrayBuffers - beforeBytes);
        }
      };
      await direct.put('large', watched(), options);
      expect(peakBytes).toBeLessThan(4 * partBytes + 16 * MIB);
      expect(await hashOf(await direct.stream('large'))).toBe(options.sha256);
      await direct.delete('large');
    });
  });
}
