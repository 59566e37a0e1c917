import { createHash } from 'node:crypto';
import { orMissing, type ChainStore } from '../view/view-source.js';

/** SHA-256 of all that an object holds, in pieces. */
export async function hashOfObject({ store, signal }: ChainStore, key: string, missingCode: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of await orMissing(missingCode, store.stream(key))) {
    signal.throwIfAborted();
    hash.update(chunk);
  }
  return hash.digest('hex');
}
