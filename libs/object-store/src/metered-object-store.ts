import { PlatformError, type Clock } from '#libs/kernel';
import type { ByteRange, Locking, ObjectBody, ObjectEntry, ObjectStore, PutOptions, PutOutcome } from './object-store.js';
import { WrappedObjectStore } from './wrapped-object-store.js';

const OPERATIONS = ['put', 'get', 'stream', 'head', 'list', 'delete', 'locking', 'lock', 'removeLeftovers'] as const;
export type ObjectStoreOperation = (typeof OPERATIONS)[number];

export interface ObjectStoreCall {
  readonly operation: ObjectStoreOperation;
  /** Bytes that went through: of the body put, or of the part read. For `stream` what was read until its end or break. */
  readonly sizeBytes: number;
  readonly durationMs: number;
  /** `ok`, or the error's code. */
  readonly outcome: string;
}

/** What one kind of call came to since the start. */
export interface CallTotals {
  readonly calls: number;
  /** Those among them that ended with an error. */
  readonly failures: number;
  readonly sizeBytes: number;
}

/** Tells `onCall` about every operation that ended, and keeps their sums. A stream or list ends when its reader does. */
export class MeteredObjectStore extends WrappedObjectStore {
  private readonly sums = new Map<ObjectStoreOperation, CallTotals>();

  constructor(
    inner: ObjectStore,
    private readonly onCall: (call: ObjectStoreCall) => void,
    private readonly clock: Clock,
  ) {
    super(inner);
  }

  /** At this moment, also for kinds that were never called. */
  totals(): Readonly<Record<ObjectStoreOperation, CallTotals>> {
    const totals = OPERATIONS.map((operation) => [operation, this.totalsOf(operation)]);
    return Object.fromEntries(totals) as Record<ObjectStoreOperation, CallTotals>;
  }

  override put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    const sizeOf = () => options.sizeBytes;
    return this.meter('put', () => this.inner.put(key, body, options), sizeOf);
  }

  override get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    const sizeOf = (bytes: Buffer) => bytes.byteLength;
    return this.meter('get', () => this.inner.get(key, range, signal), sizeOf);
  }

  override async stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    const startMs = this.clock.monotonicMs();
    try {
      const pieces = await this.inner.stream(key, range);
      return this.meterEach('stream', pieces, (piece) => piece.byteLength, startMs);
    } catch (error) {
      this.report('stream', 0, startMs, outcomeOf(error));
      throw error;
    }
  }

  override head(key: string): Promise<{ sizeBytes: number } | null> {
    return this.meter('head', () => this.inner.head(key));
  }

  override list(prefix: string): AsyncIterable<ObjectEntry> {
    return this.meterEach('list', this.inner.list(prefix), () => 0);
  }

  override delete(key: string): Promise<void> {
    return this.meter('delete', () => this.inner.delete(key));
  }

  override locking(): Promise<Locking> {
    return this.meter('locking', () => this.inner.locking());
  }

  override lock(key: string, until: Date): Promise<void> {
    return this.meter('lock', () => this.inner.lock(key, until));
  }

  override removeLeftovers(olderThan: Date): Promise<number> {
    return this.meter('removeLeftovers', () => this.inner.removeLeftovers(olderThan));
  }

  private async meter<T>(operation: ObjectStoreOperation, work: () => Promise<T>, sizeOf: (result: T) => number = () => 0): Promise<T> {
    const startMs = this.clock.monotonicMs();
    try {
      const result = await work();
      this.report(operation, sizeOf(result), startMs, 'ok');
      return result;
    } catch (error) {
      this.report(operation, 0, startMs, outcomeOf(error));
      throw error;
    }
  }

  private async *meterEach<T>(
    operation: ObjectStoreOperation,
    items: AsyncIterable<T>,
    sizeOf: (item: T) => number,
    startMs = this.clock.monotonicMs(),
  ): AsyncIterable<T> {
    let sizeBytes = 0;
    let outcome = 'ok';
    try {
      for await (const item of items) {
        sizeBytes += sizeOf(item);
        yield item;
      }
    } catch (error) {
      outcome = outcomeOf(error);
      throw error;
    } finally {
      this.report(operation, sizeBytes, startMs, outcome);
    }
  }

  private report(operation: ObjectStoreOperation, sizeBytes: number, startMs: number, outcome: string): void {
    const before = this.totalsOf(operation);
    this.sums.set(operation, {
      calls: before.calls + 1,
      failures: before.failures + (outcome === 'ok' ? 0 : 1),
      sizeBytes: before.sizeBytes + sizeBytes,
    });
    this.onCall({ operation, sizeBytes, durationMs: this.clock.monotonicMs() - startMs, outcome });
  }

  private totalsOf(operation: ObjectStoreOperation): CallTotals {
    return this.sums.get(operation) ?? { calls: 0, failures: 0, sizeBytes: 0 };
  }
}

function outcomeOf(error: unknown): string {
  return error instanceof PlatformError ? error.code : 'unexpected';
}
