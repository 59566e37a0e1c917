import { once } from 'node:events';
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PlatformError, SystemClock } from '#libs/kernel';
import type { Peer } from '../domain/peer.js';
import { UploadGate } from './upload-gate.js';
import { acceptUploads, Uploads } from './uploads.js';

const BYTES_MAX = 100_000;
const clock = new SystemClock();
const gate = new UploadGate(clock, { perPeer: 1, perTenant: 2, inAll: 4, bytesInAll: 1_000_000, waiting: 4, waitMs: 5_000 });
const uploads = new Uploads(gate, clock, { bytesPerSecond: 20_000, windowMs: 300 });
let fastify: FastifyInstance;
let port: number;
let lostAnswers = 0;

beforeAll(async () => {
  fastify = new FastifyAdapter().getInstance() as unknown as FastifyInstance;
  acceptUploads(fastify, gate);
  fastify.put('/upload', (incoming) =>
    uploads.receive(incoming, { identityId: 'a', tenantId: 'contoso' } as Peer, BYTES_MAX, async (bytes) => {
      let size = 0;
      for await (const chunk of bytes) size += chunk.length;
      return { size };
    }),
  );
  fastify.get('/lost', async (incoming, reply) => {
    const closed = once(reply.raw, 'close');
    incoming.raw.socket.destroy();
    await closed;
    await uploads.send(incoming, reply, { identityId: 'lost', tenantId: 'contoso' } as Peer, 10).finally(() => (lostAnswers += 1));
    return 'nobody reads this';
  });
  fastify.setErrorHandler((error, _request, reply) =>
    reply.status(400).send({ code: error instanceof PlatformError ? error.code : String(error) }),
  );
  await fastify.listen({ host: '127.0.0.1', port: 0 });
  port = (fastify.server.address() as AddressInfo).port;
});
afterAll(() => fastify?.close());

interface Answer {
  readonly body: { code?: string; size?: number };
  readonly connection: string | undefined;
}

/** Sends what `write` writes, under these headers; `write` says when the request ends. */
function put(headers: Record<string, string | number>, write: (outgoing: ReturnType<typeof request>) => void): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { port, path: '/upload', method: 'PUT', headers: { 'content-type': 'application/octet-stream', ...headers } },
      (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () => {
          outgoing.destroy();
          resolve({ body: JSON.parse(text) as Answer['body'], connection: response.headers.connection });
        });
      },
    );
    outgoing.on('error', reject);
    write(outgoing);
  });
}

describe('Uploads', () => {
  it('streams a body larger than the server takes otherwise', async () => {
    const { body } = await put({ 'content-length': BYTES_MAX }, (outgoing) => outgoing.end(Buffer.alloc(BYTES_MAX)));
    expect(body).toEqual({ size: BYTES_MAX });
    expect(gate.receivedBytes).toBe(BYTES_MAX);
    expect(gate.uploadCount).toBe(0);
  });

  it('refuses before the first byte, and closes what was not read', async () => {
    const chunked = await put({ 'transfer-encoding': 'chunked' }, (outgoing) => outgoing.write('x'));
    expect(chunked).toEqual({ body: { code: 'upload.length-required' }, connection: 'close' });
    const tooLarge = await put({ 'content-length': BYTES_MAX + 1 }, (outgoing) => outgoing.flushHeaders());
    expect(tooLarge).toEqual({ body: { code: 'upload.too-large' }, connection: 'close' });
    const notAStream = await put({ 'content-type': 'application/json' }, (outgoing) => outgoing.end('{}'));
    expect(notAStream.body).toEqual({ code: 'upload.length-required' });
  });

  it('ends one that trickles in, and gives its place back, but not one that is only slow', async () => {
    let trickle: NodeJS.Timeout | undefined;
    const trickled = await put({ 'content-length': BYTES_MAX }, (outgoing) => {
      trickle = setInterval(() => outgoing.write('x'), 20);
    }).finally(() => clearInterval(trickle));
    expect(trickled).toEqual({ body: { code: 'upload.too-slow' }, connection: 'close' });
    expect(gate.uploadCount).toBe(0);
    const slow = await put({ 'content-length': BYTES_MAX }, (outgoing) => {
      let left = BYTES_MAX;
      trickle = setInterval(() => {
        outgoing.write(Buffer.alloc(Math.min(4_000, left)));
        left -= 4_000;
        if (left <= 0) clearInterval(trickle);
      }, 20);
    });
    expect(slow.body).toEqual({ size: BYTES_MAX });
  });

  it('lets a peer send so many at a time: a further one waits unread, one more is refused, and a cut one gives its place on', async () => {
    const begin = (): ReturnType<typeof request> => {
      const headers = { 'content-type': 'application/octet-stream', 'content-length': 10 };
      const outgoing = request({ port, path: '/upload', method: 'PUT', headers });
      outgoing.on('error', () => undefined).write('12345');
      return outgoing;
    };
    const first = begin();
    await expect.poll(() => gate.uploadCount).toBe(1);
    const lost = begin();
    await expect.poll(() => gate.waitingCount).toBe(1);
    lost.destroy();
    await expect.poll(() => gate.waitingCount).toBe(0);
    const second = put({ 'content-length': 3 }, (outgoing) => outgoing.end('123'));
    await expect.poll(() => gate.waitingCount).toBe(1);
    expect(await put({ 'content-length': 1 }, (outgoing) => outgoing.end('1'))).toEqual({
      body: { code: 'upload.too-many' },
      connection: 'close',
    });
    first.destroy();
    expect((await second).body).toEqual({ size: 3 });
    expect([gate.uploadCount, gate.waitingCount]).toEqual([0, 0]);
  });

  it('keeps no place for an answer whose reader was gone before there was one', async () => {
    request({ port, path: '/lost' })
      .on('error', () => undefined)
      .end();
    await expect.poll(() => lostAnswers).toBe(1);
    expect(gate.uploadCount).toBe(0);
  });
});
