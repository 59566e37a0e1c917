/** A part of an object: `length` ≥ 1 bytes from `offset` on, wholly inside the object. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface PutOptions {
  readonly sizeBytes: number;
  /** Lower-case hex of the whole body's SHA-256. */
  readonly sha256: string;
  /** As {@link ObjectStore.lock}, before the put is acknowledged; also where the object was there already. */
  readonly lockedUntil?: Date;
  readonly signal?: AbortSignal;
}

export interface PutOutcome {
  /** False when an object of the same content was already there. */
  readonly created: boolean;
}

export interface ObjectEntry {
  readonly key: string;
  readonly sizeBytes: number;
}

export type ObjectBody = Uint8Array | AsyncIterable<Uint8Array>;

/**
 * What a store's locks are worth: `compliance`, nobody can delete a locked object, not the store's owner either; `governance`, who has a
 * special right can; `none`, the store cannot lock.
 */
export type Locking = 'none' | 'governance' | 'compliance';

/**
 * Immutable objects under keys. Keys hold `a-z 0-9 . _ / -` only, have no empty part and none that begins with a dot, and are at most
 * 512 characters (`object.key-invalid`). A key may not be the directory of another (`a` beside `a/b`): a directory could not hold both.
 *
 * Every operation is safe to repeat. Every operation may fail with
 * - `object.store-unavailable` (unavailable, retryable): unreachable, time-out, 5xx. Whether a put or delete took place is then unknown;
 * - `object.store-forbidden` (forbidden): the store refuses these credentials.
 */
export abstract class ObjectStore {
  /** No object may be larger, so that whoever has to make one first can know before. */
  get objectBytesMax(): number {
    return Number.POSITIVE_INFINITY;
  }

  /**
   * Stores `body`; durable when resolved. The body is checked against its declared length (`object.size-mismatch`) and SHA-256
   * (`object.hash-mismatch`); a failed put leaves nothing visible. When the key exists with the same content (its stored length and hash are
   * verified, and it is made durable) the answer is `created: false`; with other content `object.conflict`, and the object stays untouched.
   * No room: `object.store-full` (exhausted).
   *
   * Of two puts of *different* content at the same instant either may win where the store has no conditional writes: give content its hash
   * as name, or let something else decide who may write.
   */
  abstract put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome>;

  /** The whole object or exactly the range. `object.not-found`; `object.range-invalid` where the range leaves the object. The bytes are the caller's own. */
  abstract get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer>;

  /** As {@link get}, in pieces. A break on the way surfaces as `object.store-unavailable` from the iterator. */
  abstract stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>>;

  abstract head(key: string): Promise<{ sizeBytes: number } | null>;

  /**
   * Every object whose key begins with `prefix` (any string of key characters, also empty), ascending by key. An iterator that ends without
   * an error has told all of them: a break on the way throws, also `object.listing-broken` (unavailable) where the store's own answer
   * contradicts itself. What decides by absence (collection) may rely on it.
   */
  abstract list(prefix: string): AsyncIterable<ObjectEntry>;

  /** Deletes for good: no earlier version stays behind. Deleting what is not there is fine. `object.locked` (conflict) while it is locked. */
  abstract delete(key: string): Promise<void>;

  /** What {@link lock} is worth here. */
  abstract locking(): Promise<Locking>;

  /**
   * Keeps the object from being deleted before `until`, rounded up to the second. An object that is locked for longer stays so: a lock is
   * extended, never shortened (of two processes that lock it at the same instant, either may win). `object.not-found`; `object.lock-unsupported` (invalid) where {@link locking} is `none`.
   */
  abstract lock(key: string, until: Date): Promise<void>;

  /**
   * Removes what unfinished puts left behind that began (S3) or were last written to (directory) before `olderThan`, and tells how many
   * there were. Never an object. Be generous, a day: a put that still runs would fail.
   */
  abstract removeLeftovers(olderThan: Date): Promise<number>;
}
