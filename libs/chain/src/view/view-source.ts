import { CodedError, PlatformError } from '#libs/kernel';
import type { ByteRange, ObjectStore } from '#libs/object-store';
import { corrupt } from '../chain-errors.js';
import type { ObjectNames } from '../object-names.js';
import { sha256Hex } from '../sha256.js';

/** Where the objects of one chain are read, and under whose word that stops. */
export interface ChainStore {
  readonly store: ObjectStore;
  readonly names: ObjectNames;
  readonly signal: AbortSignal;
}

/** A small object that must have this hash. Never takes in more than `bytesMax`, whatever the store holds. */
export async function getPinned(
  source: ChainStore,
  key: string,
  sha256: string,
  bytesMax: number,
  missingCode: string,
  mismatchCode = 'view.hash-mismatch',
): Promise<Buffer> {
  source.signal.throwIfAborted();
  const chunks: Uint8Array[] = [];
  let received = 0;
  for await (const chunk of await orMissing(missingCode, source.store.stream(key))) {
    source.signal.throwIfAborted();
    received += chunk.length;
    if (received > bytesMax) throw corrupt(mismatchCode, 'an object is larger than any of its kind', { sha256 });
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks, received);
  if (sha256Hex(bytes) !== sha256) throw corrupt(mismatchCode, 'an object is not what its reference says', { sha256 });
  return bytes;
}

export async function getSegmentRange(source: ChainStore, sha256: string, range: ByteRange, signal = source.signal): Promise<Buffer> {
  signal.throwIfAborted();
  const bytes = await orMissing('view.segment-missing', source.store.get(source.names.segment(sha256), range, signal));
  if (bytes.length !== range.length) throw corrupt('segment.truncated', 'a segment is shorter than its list says', { sha256 });
  return bytes;
}

/** Reads with the codes of what is read: `missingCode` where there is nothing, `shortCode` where there is less than was told. */
export async function orMissing<T>(missingCode: string, reading: Promise<T>, shortCode = 'segment.truncated'): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    if (!(error instanceof PlatformError)) throw error;
    if (error.code === 'object.not-found')
      throw new CodedError(missingCode, 'not-found', 'a part of the point is not in the store', {}, error);
    if (error.code === 'object.range-invalid') throw corrupt(shortCode, 'an object is shorter than what names it says', {}, error);
    throw error;
  }
}
