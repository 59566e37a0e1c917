import { createHash } from 'node:crypto';
import type { ObjectStore, PutOutcome } from './object-store.js';

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** {@link ObjectStore.put} for bytes that were made here, whose length and hash nobody declared. */
export function putBytes(store: ObjectStore, key: string, bytes: Uint8Array, signal?: AbortSignal): Promise<PutOutcome> {
  const options = { sizeBytes: bytes.byteLength, sha256: sha256Hex(bytes) };
  return store.put(key, bytes, signal === undefined ? options : { ...options, signal });
}
