import { assertKeyPrefix, assertObjectKey } from './object-key.js';
import { assertRangeInside, objectConflict, objectNotFound } from './object-errors.js';
import { ObjectStore, type ByteRange, type ObjectBody, type ObjectEntry, type PutOptions, type PutOutcome } from './object-store.js';
import { sha256Hex } from './put-bytes.js';
import { verifiedBody } from './verified-body.js';

/** Objects of one process, for tests and simulations: lasting as long as the instance, which is what "durable" means there. */
export class MemoryObjectStore extends ObjectStore {
  private readonly objects = new Map<string, Buffer>();

  async put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    assertObjectKey(key);
    const pieces: Uint8Array[] = [];
    for await (const piece of verifiedBody(body, options)) pieces.push(piece);
    const existing = this.objects.get(key);
    if (existing === undefined) {
      this.objects.set(key, Buffer.concat(pieces));
      return { created: true };
    }
    if (existing.byteLength !== options.sizeBytes || sha256Hex(existing) !== options.sha256) throw objectConflict(key);
    return { created: false };
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
    this.objects.delete(key);
  }
}

async function* inPieces(bytes: Buffer): AsyncIterable<Uint8Array> {
  const pieceBytes = 64 * 1024;
  for (let offset = 0; offset < bytes.byteLength; offset += pieceBytes) yield bytes.subarray(offset, offset + pieceBytes);
}
