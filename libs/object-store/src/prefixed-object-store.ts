import { CodedError } from '#libs/kernel';
import type { ByteRange, ObjectBody, ObjectEntry, ObjectStore, PutOptions, PutOutcome } from './object-store.js';
import { WrappedObjectStore } from './wrapped-object-store.js';

/**
 * Refuses every key that does not begin with the prefix (`object.key-foreign`, forbidden): what works for one tenant holds a store that can
 * reach that tenant's objects alone, whatever keys it is talked into. Keys stay whole; nothing is added to them. Leftovers belong to no key, so
 * removing them is handed on.
 */
export class PrefixedObjectStore extends WrappedObjectStore {
  private readonly prefix: string;

  /** `prefix` names a directory: a missing slash at its end is added, so that `t/1` does not open `t/10/…`. */
  constructor(inner: ObjectStore, prefix: string) {
    super(inner);
    this.prefix = prefix.endsWith('/') ? prefix : `${prefix}/`;
  }

  override async put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    return this.inner.put(this.own(key), body, options);
  }

  override async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    return this.inner.get(this.own(key), range, signal);
  }

  override async stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    return this.inner.stream(this.own(key), range);
  }

  override async head(key: string): Promise<{ sizeBytes: number } | null> {
    return this.inner.head(this.own(key));
  }

  override list(prefix: string): AsyncIterable<ObjectEntry> {
    return this.inner.list(this.own(prefix));
  }

  override async delete(key: string): Promise<void> {
    await this.inner.delete(this.own(key));
  }

  override async lock(key: string, until: Date): Promise<void> {
    await this.inner.lock(this.own(key), until);
  }

  private own(key: string): string {
    if (key.startsWith(this.prefix)) return key;
    throw new CodedError('object.key-foreign', 'forbidden', 'the key is outside the prefix that this store is confined to');
  }
}
