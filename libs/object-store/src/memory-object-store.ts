import { SystemClock, type Clock } from '#libs/kernel';
import { assertKeyPrefix, assertObjectKey } from './object-key.js';
import { assertRangeInside, lockUnsupported, objectConflict, objectLocked, objectNotFound } from './object-errors.js';
import {
  ObjectStore,
  type ByteRange,
  type Locking,
  type ObjectBody,
  type ObjectEntry,
  type PutOptions,
  type PutOutcome,
} from './object-store.js';
import { sha256Hex } from './put-bytes.js';
import { verifiedBody } from './verified-body.js';
import { wholeSecond } from './whole-second.js';

export interface MemoryObjectStoreOptions {
  /** Default: `none`. */
  readonly locking?: Locking;
  readonly clock?: Clock;
}

/** Objects of one process, for tests and simulations: lasting as long as the instance, which is what "durable" means there. */
export class MemoryObjectStore extends ObjectStore {
  private readonly objects = new Map<string, Buffer>();
  private readonly lockedUntil = new Map<string, Date>();

  constructor(private readonly options: MemoryObjectStoreOptions = {}) {
    super();
  }

  async put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    assertObjectKey(key);
    if (options.lockedUntil !== undefined) this.assertCanLock();
    const pieces: Uint8Array[] = [];
    for await (const piece of verifiedBody(body, options)) pieces.push(piece);
    const existing = this.objects.get(key);
    if (existing === undefined) this.objects.set(key, Buffer.concat(pieces));
    else if (existing.byteLength !== options.sizeBytes || sha256Hex(existing) !== options.sha256) throw objectConflict(key);
    if (options.lockedUntil !== undefined) await this.lock(key, options.lockedUntil);
    return { created: existing === undefined };
  }

  async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    assertObjectKey(key);
    signal?.throwIfAborted();
    const object = this.objects.get(key);
    if (object === undefined) throw objectNotFound(key);
    if (range === undefined) return Buffer.from(object);
    assertRangeInside(key, range, object.byteLength);
    return Buffer.from(object.subarray(range.offset, range.offset + range.length));
  }

  async stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    const bytes = await this.get(key, range);
    return inPieces(bytes);
  }

  async head(key: string): Promise<{ sizeBytes: number } | null> {
    assertObjectKey(key);
    const object = this.objects.get(key);
    return object === undefined ? null : { sizeBytes: object.byteLength };
  }

  async *list(prefix: string): AsyncIterable<ObjectEntry> {
    assertKeyPrefix(prefix);
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort();
    for (const key of keys) {
      const object = this.objects.get(key);
      if (object !== undefined) yield { key, sizeBytes: object.byteLength };
    }
  }

  async delete(key: string): Promise<void> {
    assertObjectKey(key);
    const until = this.lockedUntil.get(key);
    if (until !== undefined && until > (this.options.clock ?? new SystemClock()).now()) throw objectLocked(key, until);
    this.lockedUntil.delete(key);
    this.objects.delete(key);
  }

  async locking(): Promise<Locking> {
    return this.options.locking ?? 'none';
  }

  async lock(key: string, until: Date): Promise<void> {
    assertObjectKey(key);
    this.assertCanLock();
    if (!this.objects.has(key)) throw objectNotFound(key);
    const whole = wholeSecond(until);
    if (whole > (this.lockedUntil.get(key) ?? new Date(0))) this.lockedUntil.set(key, whole);
  }

  /** A put that failed has left nothing here. */
  async removeLeftovers(): Promise<number> {
    return 0;
  }

  private assertCanLock(): void {
    if ((this.options.locking ?? 'none') === 'none') throw lockUnsupported();
  }
}

async function* inPieces(bytes: Buffer): AsyncIterable<Uint8Array> {
  const pieceBytes = 64 * 1024;
  for (let offset = 0; offset < bytes.byteLength; offset += pieceBytes) yield bytes.subarray(offset, offset + pieceBytes);
}
