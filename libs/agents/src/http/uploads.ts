import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Readable } from 'node:stream';
import { SECOND_MS, type Clock } from '#libs/kernel';
import { refusals } from '../domain/errors.js';
import type { Peer } from '../domain/peer.js';
import { guardedUpload, MINIMUM_RATE, type MinimumRate } from './guarded-upload.js';
import { UploadGate } from './upload-gate.js';

/** Sealed bytes, and the VM console's picture. */
const STREAM_TYPES = ['application/octet-stream', 'image/png'];
/** How long a body that is no upload may take to arrive. */
const BODY_TIMEOUT_MS = 30 * SECOND_MS;

/** Receives large bodies as they come, each within its declared length, at a minimum rate, and not too many at a time. */
export class Uploads {
  constructor(
    private readonly gate: UploadGate,
    private readonly clock: Clock,
    private readonly minimumRate: MinimumRate = MINIMUM_RATE,
  ) {}

  /**
   * Hands the body's bytes to `work`, which must read them to their end. Throws `upload.length-required`, `upload.too-large`,
   * `upload.too-many` (429), `receiver.busy` and `receiver.stopping` (503) before a byte is read; `upload.cut`,
   * `upload.too-slow`, `upload.longer-than-declared` through the iterator.
   */
  async receive<T>(
    request: FastifyRequest,
    peer: Peer,
    bytesMax: number,
    work: (bytes: AsyncIterable<Buffer>, declaredBytes: number) => Promise<T>,
  ): Promise<T> {
    const declared = request.headers['content-length'];
    if (declared === undefined || !/^[0-9]{1,15}$/.test(declared) || !isStream(request)) throw refusals.uploadLengthMissing();
    const declaredBytes = Number(declared);
    if (declaredBytes > bytesMax) throw refusals.uploadTooLarge(bytesMax);
    const leave = this.gate.enter(peer.identityId);
    try {
      const onBytes = (bytes: number): void => this.gate.countBytes(bytes);
      const { clock, minimumRate } = this;
      return await work(guardedUpload(request.body as Readable, { declaredBytes, clock, minimumRate, onBytes }), declaredBytes);
    } finally {
      leave();
    }
  }
}

/**
 * Lets routes have bodies of bytes as streams; Fastify's own limit does not see those, `Uploads.receive`
 * does. The server has no total time-out, so every other body gets one here; and a connection whose body was not read to
 * its end is closed after the answer, since what is left of it would be taken for the next request or trickle in for ever.
 */
export function acceptUploads(fastify: FastifyInstance): void {
  fastify.addContentTypeParser(STREAM_TYPES, (_request, payload, done) => done(null, payload));
  fastify.addHook('onRequest', async (request) => {
    if (isStream(request) || request.raw.complete) return;
    const timer = setTimeout(() => request.raw.destroy(), BODY_TIMEOUT_MS);
    request.raw.once('end', () => clearTimeout(timer)).once('close', () => clearTimeout(timer));
  });
  fastify.addHook('onSend', async (request, reply) => {
    if (!request.raw.complete) void reply.header('connection', 'close');
  });
}

function isStream(request: FastifyRequest): boolean {
  return STREAM_TYPES.includes(request.headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? '');
}
