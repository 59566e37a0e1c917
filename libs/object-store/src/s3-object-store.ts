import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand, type GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { MIB, PlatformError, SystemClock, TIB, type Clock } from '#libs/kernel';
import { assertKeyPrefix, assertObjectKey } from './object-key.js';
import { assertRange, objectConflict, rangeInvalid, storeUnavailable } from './object-errors.js';
import {
  ObjectStore,
  type ByteRange,
  type Locking,
  type ObjectBody,
  type ObjectEntry,
  type PutOptions,
  type PutOutcome,
} from './object-store.js';
import { S3Bucket } from './s3-bucket.js';
import { S3Connection, type S3ObjectStoreOptions } from './s3-connection.js';
import { fromS3Error } from './s3-errors.js';
import { listObjects, listUploads } from './s3-listing.js';
import { endUpload, partBytesFor, S3MultipartUpload } from './s3-multipart-upload.js';
import { checksumOf, signPayloadHash } from './s3-payload.js';
import { UploadSource } from './upload-source.js';
import { verifiedBody, verifyBody } from './verified-body.js';

/** What every store that speaks S3 takes. */
const OBJECT_BYTES_MAX = 5 * TIB;

/**
 * Objects in an S3 bucket.
 *
 * A put states the body's SHA-256 three times: as the signed payload hash, which every S3 server checks before the object becomes visible; as
 * the checksum header, which newer ones keep; and as metadata, by which a later put of the same key is compared without reading the object.
 * A large body goes in parts ({@link S3MultipartUpload}), each with its own SHA-256. No conditional write is asked for, since servers differ
 * there (some ignore it on versioned buckets).
 *
 * **Versioned buckets.** A delete removes every version and delete marker of its key, by version id, so that nothing stays hidden. Lifecycle
 * rules may be a second broom: `AbortIncompleteMultipartUpload` and `NoncurrentVersionExpiration` of a week or more, and
 * `ExpiredObjectDeleteMarker`. A rule that expires or moves *current* versions is never right: it hides objects that chains still need. A delete
 * marker set by such a rule or by hand makes the object wholly absent (`head`, `get`, `list`); the next put of it brings the key back.
 *
 * **Object Lock** is used where the bucket has it, in the mode of its default rule. Such a rule locks every object that is put, also those
 * that live for a moment; without one just what {@link lock} is asked for is locked. Nothing here ever bypasses governance.
 *
 * Rights it needs on the bucket: `s3:ListBucket`, `GetObject`, `PutObject`, `DeleteObject`, `AbortMultipartUpload`,
 * `ListBucketMultipartUploads`, `GetBucketVersioning`; if versioned `ListBucketVersions`, `DeleteObjectVersion`; with Object Lock
 * `GetBucketObjectLockConfiguration`, `GetObjectRetention`, `PutObjectRetention`. Never `BypassGovernanceRetention`.
 */
export class S3ObjectStore extends ObjectStore {
  private readonly connection: S3Connection;
  private readonly s3Bucket: S3Bucket;
  private readonly clock: Clock;
  private readonly multipartAboveBytes: number;
  private readonly partBytes: number;

  constructor(options: S3ObjectStoreOptions) {
    super();
    this.clock = options.clock ?? new SystemClock();
    this.connection = new S3Connection(options);
    this.s3Bucket = new S3Bucket(this.connection, options.lockMode ?? 'compliance', this.clock);
    this.multipartAboveBytes = options.multipartAboveBytes ?? 64 * MIB;
    this.partBytes = options.partBytes ?? 16 * MIB;
  }

  override get objectBytesMax(): number {
    return OBJECT_BYTES_MAX;
  }

  /** Drops the connections; the store is not used again. */
  close(): void {
    this.connection.client.destroy();
  }

  async put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    assertObjectKey(key);
    return this.connection.speak(key, async () => {
      const lock = options.lockedUntil === undefined ? {} : await this.s3Bucket.lockHeaders(options.lockedUntil);
      const existing = await this.describe(key);
      if (existing !== null) {
        await verifyBody(body, options);
        const isSame = existing.sizeBytes === options.sizeBytes && (existing.sha256 ?? (await this.hashOf(key))) === options.sha256;
        if (!isSame) throw objectConflict(key);
      } else if (options.sizeBytes <= this.multipartAboveBytes) {
        await this.upload(key, body, options, lock);
        return { created: true };
      } else {
        await this.uploadInParts(key, body, options);
      }
      // Servers differ in whether a lock asked for at the beginning of a multipart upload is there at its end.
      if (options.lockedUntil !== undefined) await this.s3Bucket.lock(key, options.lockedUntil);
      return { created: existing === null };
    });
  }

  async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    assertObjectKey(key);
    return this.connection.speak(key, async () => {
      const { pieces, sizeBytes } = await this.open(key, range, signal);
      const bytes = Buffer.allocUnsafe(sizeBytes);
      let done = 0;
      for await (const piece of pieces) {
        bytes.set(piece, done);
        done += piece.byteLength;
      }
      return bytes;
    });
  }

  async stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    assertObjectKey(key);
    const { pieces } = await this.connection.speak(key, () => this.open(key, range));
    return pieces;
  }

  async head(key: string): Promise<{ sizeBytes: number } | null> {
    assertObjectKey(key);
    const found = await this.connection.speak(key, () => this.describe(key));
    return found === null ? null : { sizeBytes: found.sizeBytes };
  }

  list(prefix: string): AsyncIterable<ObjectEntry> {
    assertKeyPrefix(prefix);
    return listObjects(this.connection, prefix);
  }

  async delete(key: string): Promise<void> {
    assertObjectKey(key);
    await this.connection.speak(key, () => this.s3Bucket.delete(key));
  }

  async locking(): Promise<Locking> {
    return this.connection.speak('', () => this.s3Bucket.locking());
  }

  async lock(key: string, until: Date): Promise<void> {
    assertObjectKey(key);
    await this.connection.speak(key, () => this.s3Bucket.lock(key, until));
  }

  async removeLeftovers(olderThan: Date): Promise<number> {
    let removed = 0;
    for await (const { key, uploadId, startedAt } of listUploads(this.connection)) {
      if (startedAt >= olderThan) continue;
      await this.connection.speak(key, () => endUpload(this.connection, key, uploadId));
      removed += 1;
    }
    return removed;
  }

  private async upload(key: string, body: ObjectBody, options: PutOptions, lock: object): Promise<void> {
    const source = new UploadSource(verifiedBody(body, options), options.signal);
    const command = new PutObjectCommand({
      ...this.connection.named(key),
      ...lock,
      Body: source.stream,
      ContentLength: options.sizeBytes,
      ChecksumSHA256: checksumOf(options.sha256),
      Metadata: { sha256: options.sha256 },
    });
    signPayloadHash(command, options.sha256);
    try {
      await this.connection.client.send(command, { abortSignal: source.signal });
    } catch (error) {
      throw source.failure ?? error;
    } finally {
      source.stream.destroy();
    }
  }

  private async uploadInParts(key: string, body: ObjectBody, options: PutOptions): Promise<void> {
    const { sizeBytes, sha256, signal } = options;
    const partBytes = partBytesFor(sizeBytes, this.partBytes);
    const upload = await S3MultipartUpload.begin(this.connection, key, { partBytes, metadata: { sha256 }, clock: this.clock, signal });
    await upload.send(verifiedBody(body, options), sizeBytes, async () => {
      const found = await this.describe(key);
      return found?.sizeBytes === sizeBytes && found.sha256 === sha256;
    });
  }

  private async describe(key: string): Promise<{ sizeBytes: number; sha256: string | undefined } | null> {
    try {
      const found = await this.connection.client.send(new HeadObjectCommand(this.connection.named(key)));
      return { sizeBytes: found.ContentLength ?? 0, sha256: found.Metadata?.['sha256'] };
    } catch (error) {
      const translated = fromS3Error(key, error);
      if (translated instanceof PlatformError && translated.code === 'object.not-found') return null;
      throw translated;
    }
  }

  /** For objects that something else than this adapter stored, without the hash as metadata. */
  private async hashOf(key: string): Promise<string> {
    const hash = createHash('sha256');
    for await (const piece of (await this.open(key)).pieces) hash.update(piece);
    return hash.digest('hex');
  }

  private async open(
    key: string,
    range?: ByteRange,
    signal?: AbortSignal,
  ): Promise<{ pieces: AsyncIterable<Uint8Array>; sizeBytes: number }> {
    if (range !== undefined) assertRange(key, range);
    const found = await this.connection.client.send(
      new GetObjectCommand({
        ...this.connection.named(key),
        ...(range === undefined ? {} : { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` }),
      }),
      signal === undefined ? {} : { abortSignal: signal },
    );
    const body = found.Body as Readable;
    const sizeBytes = found.ContentLength ?? 0;
    // A range that begins inside the object and ends beyond it is cut by the server, not refused.
    if (range !== undefined && sizeBytes !== range.length) {
      body.destroy();
      throw rangeInvalid(key, range, totalOf(found));
    }
    return { pieces: exactly(key, body, sizeBytes), sizeBytes };
  }
}

async function* exactly(key: string, body: Readable, sizeBytes: number): AsyncIterable<Uint8Array> {
  let done = 0;
  try {
    for await (const piece of body) {
      done += (piece as Buffer).byteLength;
      if (done > sizeBytes) break;
      yield piece as Buffer;
    }
  } catch (error) {
    throw fromS3Error(key, error);
  }
  if (done !== sizeBytes) throw storeUnavailable(`object ${key} came with another length than announced`);
}

function totalOf(found: GetObjectCommandOutput): number | undefined {
  const total = Number(found.ContentRange?.split('/')[1]);
  return Number.isSafeInteger(total) ? total : undefined;
}
