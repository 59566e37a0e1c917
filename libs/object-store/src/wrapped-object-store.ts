import {
  ObjectStore,
  type ByteRange,
  type Locking,
  type ObjectBody,
  type ObjectEntry,
  type PutOptions,
  type PutOutcome,
} from './object-store.js';

/** Hands everything on to `inner`; a wrapper overrides what it changes. */
export abstract class WrappedObjectStore extends ObjectStore {
  constructor(protected readonly inner: ObjectStore) {
    super();
  }

  override get objectBytesMax(): number {
    return this.inner.objectBytesMax;
  }

  put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    return this.inner.put(key, body, options);
  }

  get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    return this.inner.get(key, range, signal);
  }

  stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    return this.inner.stream(key, range);
  }

  head(key: string): Promise<{ sizeBytes: number } | null> {
    return this.inner.head(key);
  }

  list(prefix: string): AsyncIterable<ObjectEntry> {
    return this.inner.list(prefix);
  }

  delete(key: string): Promise<void> {
    return this.inner.delete(key);
  }

  locking(): Promise<Locking> {
    return this.inner.locking();
  }

  lock(key: string, until: Date): Promise<void> {
    return this.inner.lock(key, until);
  }

  removeLeftovers(olderThan: Date): Promise<number> {
    return this.inner.removeLeftovers(olderThan);
  }
}
