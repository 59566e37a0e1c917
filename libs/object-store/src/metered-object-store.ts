import { PlatformError, type Clock } from '#libs/kernel';
import type { ByteRange, ObjectBody, ObjectStore, PutOptions, PutOutcome } from './object-store.js';
import { WrappedObjectStore } from './wrapped-object-store.js';

export interface ObjectStoreCall {
  readonly operation: 'put' | 'get' | 'stream' | 'head' | 'delete';
  /** Bytes that went through: of the body put, or of the part read. For `stream` what was read until its end or break. */
  readonly sizeBytes: number;
  readonly durationMs: number;
  /** `ok`, or the error's code. */
  readonly outcome: string;
}

/** Tells `onCall` about every finished operation but lists. */
export class MeteredObjectStore extends WrappedObjectStore {
  constructor(
    inner: ObjectStore,
    private readonly onCall: (call: ObjectStoreCall) => void,
    private readonly clock: Clock,
  ) {
    super(inner);
  }

  override put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    return this.meter(
      'put',
      () => this.inner.put(key, body, options),
      () => options.sizeBytes,
    );
  }

  override get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    return this.meter(
      'get',
      () => this.inner.get(key, range, signal),
      (bytes) => bytes.byteLength,
    );
  }

  override async stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    const startMs = this.clock.monotonicMs();
    try {
      return this.meterPieces(await this.inner.stream(key, range), startMs);
    } catch (error) {
      this.report('stream', 0, startMs, outcomeOf(error));
      throw error;
    }
  }

  override head(key: string): Promise<{ sizeBytes: number } | null> {
    return this.meter('head', () => this.inner.head(key));
  }

  override delete(key: string): Promise<void> {
    return this.meter('delete', () => this.inner.delete(key));
  }

  private async meter<T>(
    operation: ObjectStoreCall['operation'],
    work: () => Promise<T>,
    sizeOf: (result: T) => number = () => 0,
  ): Promise<T> {
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

  private async *meterPieces(pieces: AsyncIterable<Uint8Array>, startMs: number): AsyncIterable<Uint8Array> {
    let sizeBytes = 0;
    let outcome = 'ok';
    try {
      for await (const piece of pieces) {
        sizeBytes += piece.byteLength;
        yield piece;
      }
    } catch (error) {
      outcome = outcomeOf(error);
      throw error;
    } finally {
      this.report('stream', sizeBytes, startMs, outcome);
    }
  }

  private report(operation: ObjectStoreCall['operation'], sizeBytes: number, startMs: number, outcome: string): void {
    this.onCall({ operation, sizeBytes, durationMs: this.clock.monotonicMs() - startMs, outcome });
  }
}

function outcomeOf(error: unknown): string {
  return error instanceof PlatformError ? error.code : 'unexpected';
}
