import { createHash } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  NoSuchUpload,
  UploadPartCommand,
  type CompletedPart,
} from '@aws-sdk/client-s3';
import { MIB, PlatformError, retry, type Clock } from '#libs/kernel';
import { storeUnavailable } from './object-errors.js';
import type { S3Connection } from './s3-connection.js';
import { checksumOf, signPayloadHash } from './s3-payload.js';

const PARTS_MAX = 10_000;
const IN_FLIGHT_MAX = 4;
const IN_FLIGHT_BYTES = 64 * MIB;
const RETRIES = { attemptsMax: 5, firstDelayMs: 200, delayMaxMs: 5_000 };

/** At least `partBytes`; larger where the body would else have more parts than S3 takes. */
export function partBytesFor(sizeBytes: number, partBytes: number): number {
  return Math.max(partBytes, Math.ceil(sizeBytes / PARTS_MAX / MIB) * MIB);
}

/** Removes the parts of an unfinished upload. Fine when it is over already. */
export async function endUpload(connection: S3Connection, key: string, uploadId: string): Promise<void> {
  try {
    await connection.client.send(new AbortMultipartUploadCommand({ ...connection.named(key), UploadId: uploadId }));
  } catch (error) {
    if (!(error instanceof NoSuchUpload)) throw error;
  }
}

/**
 * A body sent in parts, which becomes an object when all of it is there and right, and nothing otherwise.
 *
 * Memory: 64 MiB or one part, whichever is more. Parts are gathered into as many buffers as that allows and sent side by side; each states its
 * SHA-256 and is sent again by itself when it did not arrive, which the body, a stream, could not be.
 */
export class S3MultipartUpload {
  private readonly broken = new AbortController();
  private readonly signal: AbortSignal;

  private constructor(
    private readonly connection: S3Connection,
    private readonly key: string,
    private readonly uploadId: string,
    private readonly partBytes: number,
    private readonly clock: Clock,
    callerSignal: AbortSignal | undefined,
  ) {
    this.signal = callerSignal === undefined ? this.broken.signal : AbortSignal.any([callerSignal, this.broken.signal]);
  }

  /** `metadata` is the object's when it is complete. */
  static async begin(
    connection: S3Connection,
    key: string,
    options: { partBytes: number; metadata: Record<string, string>; clock: Clock; signal?: AbortSignal | undefined },
  ): Promise<S3MultipartUpload> {
    const command = new CreateMultipartUploadCommand({ ...connection.named(key), ChecksumAlgorithm: 'SHA256', Metadata: options.metadata });
    const { UploadId } = await retry(
      RETRIES,
      options.clock,
      () => connection.speak(key, () => connection.client.send(command)),
      options.signal,
    );
    if (UploadId === undefined) throw storeUnavailable('it began an upload without a name');
    return new S3MultipartUpload(connection, key, UploadId, options.partBytes, options.clock, options.signal);
  }

  /** `isThere` tells whether the object is complete: a request to complete it may succeed and its answer be lost. */
  async send(pieces: AsyncIterable<Uint8Array>, sizeBytes: number, isThere: () => Promise<boolean>): Promise<void> {
    const inFlight = Math.min(
      IN_FLIGHT_MAX,
      Math.ceil(sizeBytes / this.partBytes),
      Math.max(1, Math.floor(IN_FLIGHT_BYTES / this.partBytes)),
    );
    const buffers = Array.from({ length: inFlight }, () => Promise.resolve(Buffer.allocUnsafe(this.partBytes)));
    try {
      const parts = await this.sendParts(pieces, buffers);
      await this.complete(parts, isThere);
    } catch (error) {
      // What one part fails of is the reason why the others were given up.
      this.broken.abort(error);
      await Promise.allSettled(buffers);
      await this.abort();
      throw this.broken.signal.reason;
    }
  }

  /** Part n goes through buffer n mod length: each holds the promise of being free again. */
  private async sendParts(pieces: AsyncIterable<Uint8Array>, buffers: Promise<Buffer>[]): Promise<CompletedPart[]> {
    const parts: CompletedPart[] = [];
    let buffer = await buffers[0]!;
    let filled = 0;
    let hash = createHash('sha256');
    const sendBuffer = async (): Promise<void> => {
      const index = parts.length;
      const part: CompletedPart = { PartNumber: index + 1 };
      parts.push(part);
      const full = buffer;
      const sending = this.sendPart(full.subarray(0, filled), hash.digest('hex'), part).then(() => full);
      sending.catch((error: unknown) => this.broken.abort(error));
      buffers[index % buffers.length] = sending;
      buffer = await buffers[parts.length % buffers.length]!;
      filled = 0;
      hash = createHash('sha256');
    };
    for await (const piece of pieces) {
      for (let from = 0; from < piece.byteLength;) {
        this.signal.throwIfAborted();
        if (filled === this.partBytes) await sendBuffer();
        const taken = Math.min(piece.byteLength - from, this.partBytes - filled);
        const bytes = piece.subarray(from, from + taken);
        buffer.set(bytes, filled);
        hash.update(bytes);
        filled += taken;
        from += taken;
      }
    }
    await sendBuffer();
    await Promise.all(buffers);
    return parts;
  }

  private async sendPart(bytes: Buffer, sha256: string, part: CompletedPart): Promise<void> {
    part.ChecksumSHA256 = checksumOf(sha256);
    const { ETag } = await this.again(async () => {
      const command = new UploadPartCommand({
        ...this.named,
        PartNumber: part.PartNumber,
        Body: bytes,
        ContentLength: bytes.byteLength,
        ChecksumSHA256: part.ChecksumSHA256,
      });
      signPayloadHash(command, sha256);
      return this.connection.client.send(command, { abortSignal: this.signal });
    });
    if (ETag === undefined) throw storeUnavailable('it took a part without naming it');
    part.ETag = ETag;
  }

  private async complete(parts: CompletedPart[], isThere: () => Promise<boolean>): Promise<void> {
    const command = new CompleteMultipartUploadCommand({ ...this.named, MultipartUpload: { Parts: parts } });
    await this.again(async (attempt) => {
      try {
        await this.connection.client.send(command, { abortSignal: this.signal });
      } catch (error) {
        if (attempt === 1 || !(await isThere())) throw error;
      }
    });
  }

  /** What this cannot remove stays until {@link ObjectStore.removeLeftovers}. */
  private async abort(): Promise<void> {
    const work = () => this.connection.speak(this.key, () => endUpload(this.connection, this.key, this.uploadId));
    await retry({ ...RETRIES, attemptsMax: 2 }, this.clock, work).catch(() => {});
  }

  private again<T>(work: (attempt: number) => Promise<T>): Promise<T> {
    return retry(
      RETRIES,
      this.clock,
      (attempt) => this.connection.speak(this.key, () => work(attempt)).catch(damagedOnTheWay),
      this.signal,
    );
  }

  private get named(): { Bucket: string; Key: string; UploadId: string } {
    return { ...this.connection.named(this.key), UploadId: this.uploadId };
  }
}

/** The hash of a part was taken from the very bytes that were sent: when the server finds another, the network is to blame. */
function damagedOnTheWay(error: unknown): never {
  if (error instanceof PlatformError && error.code === 'object.hash-mismatch')
    throw storeUnavailable('a part was damaged on the way', error);
  throw error;
}
