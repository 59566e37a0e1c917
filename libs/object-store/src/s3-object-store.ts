import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type GetObjectCommandOutput,
} from '@aws-sdk/client-s3';
import { PlatformError, Redacted } from '#libs/kernel';
import { assertKeyPrefix, assertObjectKey } from './object-key.js';
import { assertRange, objectConflict, rangeInvalid, storeUnavailable } from './object-errors.js';
import { ObjectStore, type ByteRange, type ObjectBody, type ObjectEntry, type PutOptions, type PutOutcome } from './object-store.js';
import { fromS3Error } from './s3-errors.js';
import { UploadSource } from './upload-source.js';
import { verifiedBody, verifyBody } from './verified-body.js';

export interface S3ObjectStoreOptions {
  readonly bucket: string;
  /** Stands before every key in the bucket; never seen by callers. Empty, or parts as in a key. */
  readonly keyPrefix?: string;
  /** `https://host:port` of a store other than AWS. */
  readonly endpoint?: string;
  readonly region?: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: Redacted;
  /** Bucket in the path instead of the host name: what most stores other than AWS want. */
  readonly forcePathStyle?: boolean;
  readonly connectTimeoutMs?: number;
  /** A connection on which nothing moves for this long is given up. */
  readonly idleTimeoutMs?: number;
  readonly connectionsMax?: number;
}

/**
 * Objects in an S3 bucket.
 *
 * A put states the body's SHA-256 three times: as the signed payload hash, which every S3 server checks before the object becomes visible; as
 * the checksum header, which newer ones keep; and as metadata, by which a later put of the same key is compared without reading the object.
 * No conditional write is asked for, since servers differ there (some ignore it on versioned buckets).
 *
 * The SDK does not retry: {@link RetryingObjectStore} does, in one place for every store. Its own default checksums are off: they turn an
 * upload into a chunked one that older servers (Ceph before 18) refuse.
 */
export class S3ObjectStore extends ObjectStore {
  private readonly client: S3Client;
  private readonly bucket: string;
  private readonly keyPrefix: string;

  constructor(options: S3ObjectStoreOptions) {
    super();
    this.bucket = options.bucket;
    const prefix = options.keyPrefix ?? '';
    this.keyPrefix = prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
    assertKeyPrefix(this.keyPrefix);
    this.client = new S3Client({
      region: options.region ?? 'us-east-1',
      credentials: { accessKeyId: options.accessKeyId, secretAccessKey: options.secretAccessKey.reveal() },
      forcePathStyle: options.forcePathStyle ?? options.endpoint !== undefined,
      ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
      // With it the SDK opens a new connection for every upload; the HEAD before each put refuses just as early.
      expectContinueHeader: false,
      maxAttempts: 1,
      logger: SILENT,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: options.connectTimeoutMs ?? 5_000,
        socketTimeout: options.idleTimeoutMs ?? 30_000,
        httpAgent: { keepAlive: true, maxSockets: options.connectionsMax ?? 64 },
        httpsAgent: { keepAlive: true, maxSockets: options.connectionsMax ?? 64 },
      },
    });
  }

  /** Drops the connections; the store is not used again. */
  close(): void {
    this.client.destroy();
  }

  async put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    assertObjectKey(key);
    return this.speak(key, async () => {
      const existing = await this.describe(key);
      if (existing !== null) {
        await verifyBody(body, options);
        const isSame = existing.sizeBytes === options.sizeBytes && (existing.sha256 ?? (await this.hashOf(key))) === options.sha256;
        if (!isSame) throw objectConflict(key);
        return { created: false };
      }
      await this.upload(key, body, options);
      return { created: true };
    });
  }

  async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    assertObjectKey(key);
    return this.speak(key, async () => {
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
    const { pieces } = await this.speak(key, () => this.open(key, range));
    return pieces;
  }

  async head(key: string): Promise<{ sizeBytes: number } | null> {
    assertObjectKey(key);
    const found = await this.speak(key, () => this.describe(key));
    return found === null ? null : { sizeBytes: found.sizeBytes };
  }

  list(prefix: string): AsyncIterable<ObjectEntry> {
    assertKeyPrefix(prefix);
    return this.pages(prefix);
  }

  async delete(key: string): Promise<void> {
    assertObjectKey(key);
    await this.speak(key, () => this.client.send(new DeleteObjectCommand(this.named(key))));
  }

  private async upload(key: string, body: ObjectBody, options: PutOptions): Promise<void> {
    const source = new UploadSource(verifiedBody(body, options), options.signal);
    const command = new PutObjectCommand({
      ...this.named(key),
      Body: source.stream,
      ContentLength: options.sizeBytes,
      ChecksumSHA256: Buffer.from(options.sha256, 'hex').toString('base64'),
      Metadata: { sha256: options.sha256 },
    });
    command.middlewareStack.add(
      (next) => (args) => {
        (args.request as { headers: Record<string, string> }).headers['x-amz-content-sha256'] = options.sha256;
        return next(args);
      },
      { step: 'build', name: 'signPayloadHash' },
    );
    try {
      await this.client.send(command, { abortSignal: source.signal });
    } catch (error) {
      throw source.failure ?? error;
    } finally {
      source.stream.destroy();
    }
  }

  private async describe(key: string): Promise<{ sizeBytes: number; sha256: string | undefined } | null> {
    try {
      const found = await this.client.send(new HeadObjectCommand(this.named(key)));
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
    const found = await this.client.send(
      new GetObjectCommand({
        ...this.named(key),
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

  private async *pages(prefix: string): AsyncIterable<ObjectEntry> {
    let token: string | undefined;
    do {
      const page = await this.speak(prefix, () =>
        this.client.send(
          new ListObjectsV2Command({
            Bucket: this.bucket,
            Prefix: this.keyPrefix + prefix,
            ...(token === undefined ? {} : { ContinuationToken: token }),
          }),
        ),
      );
      for (const { Key = '', Size = 0 } of page.Contents ?? []) yield { key: Key.slice(this.keyPrefix.length), sizeBytes: Size };
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  private named(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.bucket, Key: this.keyPrefix + key };
  }

  private async speak<T>(key: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw fromS3Error(key, error);
    }
  }
}

/** The SDK else writes to the console; every failure reaches the caller anyway. */
const SILENT = { debug() {}, info() {}, warn() {}, error() {} };

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
