import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Readable } from 'node:stream';
import { KIB, MIB, SECOND_MS, type Clock } from '#libs/kernel';
import { peerIdentityOf } from '#libs/pki';
import { refusals } from '../domain/errors.js';
import type { Peer } from '../domain/peer.js';
import { guardedUpload, MINIMUM_RATE, type MinimumRate } from './guarded-upload.js';
import { UploadGate } from './upload-gate.js';

/** Sealed bytes, and the VM console's picture. */
const STREAM_TYPES = ['application/octet-stream', 'image/png'];
/** How long a body that is no upload may take to arrive. */
const BODY_TIMEOUT_MS = 30 * SECOND_MS;
/** What an upload holds in memory on its way through, however long it is: buffers of TLS, of HTTP and of the store. */
const STREAM_BYTES = MIB;
/** A body up to this size is read without asking the gate: the number of connections bounds these. */
const SMALL_BODY_BYTES = 16 * KIB;

/** Receives large bodies as they come, each within its declared length, at a minimum rate, and not too many at a time. */
export class Uploads {
  constructor(
    private readonly gate: UploadGate,
    private readonly clock: Clock,
    private readonly minimumRate: MinimumRate = MINIMUM_RATE,
  ) {}

  /**
   * Hands the body's bytes to `work`, which must read them to their end and not keep them. Throws before a byte is read `upload.length-required`,
   * `upload.too-large`, and what {@link UploadGate.enter} does; through the iterator `upload.cut`, `upload.too-slow`, `upload.longer-than-declared`.
   */
  async receive<T>(
    request: FastifyRequest,
    peer: Peer,
    bytesMax: number,
    work: (bytes: AsyncIterable<Buffer>, declaredBytes: number) => Promise<T>,
  ): Promise<T> {
    const declaredBytes = declaredLength(request, bytesMax);
    return this.inside(request, peer, Math.min(declaredBytes, STREAM_BYTES), () =>
      work(this.guarded(request, declaredBytes), declaredBytes),
    );
  }

  /** As {@link receive}, for a body that `work` needs as a whole; its bytes count as held until that is done. */
  async receiveWhole<T>(request: FastifyRequest, peer: Peer, bytesMax: number, work: (bytes: Buffer) => Promise<T>): Promise<T> {
    const declaredBytes = declaredLength(request, bytesMax);
    return this.inside(request, peer, declaredBytes, async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of this.guarded(request, declaredBytes)) chunks.push(chunk);
      return work(Buffer.concat(chunks));
    });
  }

  /** A place for an answer of bytes, which weighs what an upload does; it falls free when the answer is out or its reader gone. As {@link UploadGate.enter}. */
  async send(request: FastifyRequest, reply: FastifyReply, { identityId, tenantId }: Peer, bytes: number): Promise<void> {
    const wish = { identityId, tenantId, bytes: Math.min(bytes, STREAM_BYTES), signal: goneSignal(request) };
    leaveWhenClosed(request, reply, await this.gate.enter(wish));
  }

  private guarded(request: FastifyRequest, declaredBytes: number): AsyncIterable<Buffer> {
    const { clock, minimumRate } = this;
    const onBytes = (bytes: number): void => this.gate.countBytes(bytes);
    return guardedUpload(request.body as Readable, { declaredBytes, clock, minimumRate, onBytes });
  }

  private async inside<T>(request: FastifyRequest, { identityId, tenantId }: Peer, bytes: number, work: () => Promise<T>): Promise<T> {
    const leave = await this.gate.enter({ identityId, tenantId, bytes, signal: goneSignal(request) });
    try {
      return await work();
    } finally {
      leave();
    }
  }
}

function declaredLength(request: FastifyRequest, bytesMax: number): number {
  const declared = request.headers['content-length'];
  if (declared === undefined || !/^[0-9]{1,15}$/.test(declared) || !isStream(request)) throw refusals.uploadLengthMissing();
  if (Number(declared) > bytesMax) throw refusals.uploadTooLarge(bytesMax);
  return Number(declared);
}

/** Aborts when the connection is lost before the body was read. */
function goneSignal(request: FastifyRequest): AbortSignal {
  const gone = new AbortController();
  if (request.raw.socket.destroyed) gone.abort();
  else request.raw.once('close', () => gone.abort());
  return gone.signal;
}

/** The connection may be lost while its place was waited for: then nothing closes any more, and the place would never fall free. */
function leaveWhenClosed(request: FastifyRequest, reply: FastifyReply, leave: () => void): void {
  if (request.raw.socket.destroyed || reply.raw.closed) leave();
  else reply.raw.once('close', leave);
}

/**
 * Lets routes have bodies of bytes as streams; Fastify's own limit does not see those, `Uploads.receive`
 * does. The server has no total time-out, so every other body gets one here; and a connection whose body was not read to
 * its end is closed after the answer, since what is left of it would be taken for the next request or trickle in for ever.
 * A body that is read before its route is asked, larger than small, goes through the gate as well.
 */
export function acceptUploads(fastify: FastifyInstance, gate: UploadGate): void {
  fastify.addContentTypeParser(STREAM_TYPES, (_request, payload, done) => done(null, payload));
  fastify.addHook('onRequest', async (request) => {
    if (isStream(request) || request.raw.complete) return;
    const timer = setTimeout(() => request.raw.destroy(), BODY_TIMEOUT_MS);
    request.raw.once('end', () => clearTimeout(timer)).once('close', () => clearTimeout(timer));
  });
  fastify.addHook('preParsing', async (request, reply) => {
    const bytes = isStream(request) ? 0 : parsedBytesMax(request);
    if (bytes <= SMALL_BODY_BYTES) return;
    const { id: identityId, tenantId } = peerIdentityOf(request.raw.socket);
    leaveWhenClosed(request, reply, await gate.enter({ identityId, tenantId, bytes, signal: goneSignal(request) }));
  });
  fastify.addHook('onSend', async (request, reply) => {
    if (!request.raw.complete) void reply.header('connection', 'close');
  });
}

function isStream(request: FastifyRequest): boolean {
  return STREAM_TYPES.includes(request.headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? '');
}

/** The most that Fastify will hold of a body before it parses or refuses it. */
function parsedBytesMax({ headers, routeOptions }: FastifyRequest): number {
  const limitBytes = routeOptions.bodyLimit ?? MIB;
  if (headers['transfer-encoding'] !== undefined) return limitBytes;
  return Math.min(Number(headers['content-length'] ?? 0), limitBytes);
}
