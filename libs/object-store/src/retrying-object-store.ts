import { backoffMs, PlatformError, retry, type Clock, type RetryPolicy } from '#libs/kernel';
import type { ByteRange, Locking, ObjectBody, ObjectEntry, ObjectStore, PutOptions, PutOutcome } from './object-store.js';
import { WrappedObjectStore } from './wrapped-object-store.js';

/**
 * Tries again what failed with a retryable error. Two things are handed on as they are, since only the caller can begin them anew: a put
 * whose body is a stream, and a stream that broke after it was begun. A list that broke is begun anew, and goes on behind what it told.
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

  override async *list(prefix: string): AsyncIterable<ObjectEntry> {
    let last = '';
    for (let attempt = 1; ; attempt += 1) {
      try {
        for await (const entry of this.inner.list(prefix)) {
          if (entry.key <= last) continue;
          last = entry.key;
          yield entry;
        }
        return;
      } catch (error) {
        if (attempt >= this.policy.attemptsMax || !this.isRetryable(error)) throw error;
        const delayMs = backoffMs(this.policy, attempt);
        this.policy.onRetry?.(error, attempt, delayMs);
        await this.clock.sleep(delayMs);
      }
    }
  }

  override delete(key: string): Promise<void> {
    return this.again(() => this.inner.delete(key));
  }

  override locking(): Promise<Locking> {
    return this.again(() => this.inner.locking());
  }

  override lock(key: string, until: Date): Promise<void> {
    return this.again(() => this.inner.lock(key, until));
  }

  override removeLeftovers(olderThan: Date): Promise<number> {
    return this.again(() => this.inner.removeLeftovers(olderThan));
  }

  private isRetryable(error: unknown): boolean {
    return this.policy.isRetryable?.(error) ?? (error instanceof PlatformError && error.isRetryable);
  }

  private again<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return retry(this.policy, this.clock, work, signal);
  }
}
