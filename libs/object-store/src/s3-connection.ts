import { S3Client } from '@aws-sdk/client-s3';
import type { Clock, Redacted } from '#libs/kernel';
import { assertKeyPrefix } from './object-key.js';
import { fromS3Error } from './s3-errors.js';

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
  /** Larger bodies are sent in parts. Default: 64 MiB. */
  readonly multipartAboveBytes?: number;
  /** S3 wants 5 MiB at least. More where a body would else have more than 10,000 parts. Default: 16 MiB. */
  readonly partBytes?: number;
  /** How objects are locked where the bucket has Object Lock but no default mode. Default: `compliance`. */
  readonly lockMode?: 'governance' | 'compliance';
  readonly clock?: Clock;
}

/**
 * A bucket's prefix, and the client to speak with it.
 *
 * The SDK does not retry: {@link RetryingObjectStore} does, in one place for every store. Its own default checksums are off: they turn an
 * upload into a chunked one that older servers (Ceph before 18) refuse.
 */
export class S3Connection {
  readonly client: S3Client;
  readonly bucket: string;
  readonly keyPrefix: string;

  constructor(options: S3ObjectStoreOptions) {
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

  /** How requests name the object. */
  named(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.bucket, Key: this.keyPrefix + key };
  }

  /** Runs `work`, whose failures come in the port's words. */
  async speak<T>(key: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw fromS3Error(key, error);
    }
  }
}

/** The SDK else writes to the console; every failure reaches the caller anyway. */
const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
