import { retry, type Clock, type RetryPolicy } from '#libs/kernel';
import type { ByteRange, ObjectBody, ObjectStore, PutOptions, PutOutcome } from './object-store.js';
import { WrappedObjectStore } from './wrapped-object-store.js';

/**
 * Tries again what failed with a retryable error. Two things are handed on as they are, since only the caller can begin them anew: a put
 * whose body is a stream, and a stream or list that broke after it was begun.
 *
 * A put that succeeded but whose answer was lost is answered `created: false` at its second attempt.
 */
export class RetryingObjectStore extends WrappedObjectStore {
  constructor(
    inner: ObjectStore,
    private readonly policy: RetryPolicy,
    private readonly clock: Clock,
  ) {
    super(inner);
  }

  override put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    if (!(body instanceof Uint8Array)) return this.inner.put(key, body, options);
    return this.again(() => this.inner.put(key, body, options), options.signal);
  }

  override get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    return this.again(() => this.inner.get(key, range, signal), signal);
  }

  override stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    return this.again(() => this.inner.stream(key, range));
  }

  override head(key: string): Promise<{ sizeBytes: number } | null> {
    return this.again(() => this.inner.head(key));
  }

  override delete(key: string): Promise<void> {
    return this.again(() => this.inner.delete(key));
  }

  private again<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return retry(this.policy, this.clock, work, signal);
  }
}
