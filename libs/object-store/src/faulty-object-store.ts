import { SystemClock, type Clock } from '#libs/kernel';
import { storeFull, storeUnavailable } from './object-errors.js';
import type { ObjectStoreOperation } from './metered-object-store.js';
import type { ByteRange, Locking, ObjectBody, ObjectEntry, ObjectStore, PutOptions, PutOutcome } from './object-store.js';
import { WrappedObjectStore } from './wrapped-object-store.js';

/**
 * - `unavailable`: fails before anything happened
 * - `answer-lost`: takes place, then fails as a time-out would; a list breaks before its last entry
 * - `full`: no room
 * - `slow`: takes place after `delayMs`
 * - `short-read`, `bit-flip`: a read whose last byte is missing, or whose middle byte is changed, or a list without its last entry; no error
 */
export type Fault = 'unavailable' | 'answer-lost' | 'full' | 'slow' | 'short-read' | 'bit-flip';

export interface ScriptedFault {
  /** The n-th call (from 1 on) of `operation`, or of any operation where none is named. */
  readonly call: number;
  readonly operation?: ObjectStoreOperation;
  readonly fault: Fault;
  /** For `slow`. Default 1,000. */
  readonly delayMs?: number;
}

/** Fails as scripted, for tests and simulations of what stands above a store. */
export class FaultyObjectStore extends WrappedObjectStore {
  private readonly calls = new Map<ObjectStoreOperation | 'any', number>();

  constructor(
    inner: ObjectStore,
    private readonly script: readonly ScriptedFault[],
    private readonly clock: Clock = new SystemClock(),
  ) {
    super(inner);
  }

  /** How many came so far, of any operation, also those that failed before they took place. */
  get callCount(): number {
    return this.calls.get('any') ?? 0;
  }

  override put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    return this.run('put', () => this.inner.put(key, body, options));
  }

  override get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    return this.run('get', () => this.inner.get(key, range, signal), spoil);
  }

  override stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    return this.run('stream', () => this.inner.stream(key, range), spoilPieces);
  }

  override head(key: string): Promise<{ sizeBytes: number } | null> {
    return this.run('head', () => this.inner.head(key));
  }

  override delete(key: string): Promise<void> {
    return this.run('delete', () => this.inner.delete(key));
  }

  override async *list(prefix: string): AsyncIterable<ObjectEntry> {
    const fault = await this.begin('list');
    let last: ObjectEntry | undefined;
    for await (const entry of this.inner.list(prefix)) {
      if (last !== undefined) yield last;
      last = entry;
    }
    if (fault === 'answer-lost') throw storeUnavailable('scripted break');
    if (last !== undefined && fault !== 'short-read') yield last;
  }

  override locking(): Promise<Locking> {
    return this.run('locking', () => this.inner.locking());
  }

  override lock(key: string, until: Date): Promise<void> {
    return this.run('lock', () => this.inner.lock(key, until));
  }

  override removeLeftovers(olderThan: Date): Promise<number> {
    return this.run('removeLeftovers', () => this.inner.removeLeftovers(olderThan));
  }

  private async run<T>(
    operation: ObjectStoreOperation,
    work: () => Promise<T>,
    spoiled: (result: T, fault: Fault) => T = (result) => result,
  ): Promise<T> {
    const fault = await this.begin(operation);
    const result = await work();
    if (fault === 'answer-lost') throw storeUnavailable('scripted time-out');
    return fault === undefined ? result : spoiled(result, fault);
  }

  /** Counts the call, and does what its fault does before anything takes place. */
  private async begin(operation: ObjectStoreOperation): Promise<Fault | undefined> {
    const scripted = this.next(operation);
    if (scripted?.fault === 'unavailable') throw storeUnavailable('scripted fault');
    if (scripted?.fault === 'full') throw storeFull();
    if (scripted?.fault === 'slow') await this.clock.sleep(scripted.delayMs ?? 1000);
    return scripted?.fault;
  }

  private next(operation: ObjectStoreOperation): ScriptedFault | undefined {
    const ofOperation = this.count(operation);
    const ofAny = this.count('any');
    return this.script.find(
      (fault) => fault.call === (fault.operation === undefined ? ofAny : ofOperation) && (fault.operation ?? operation) === operation,
    );
  }

  private count(of: ObjectStoreOperation | 'any'): number {
    const calls = (this.calls.get(of) ?? 0) + 1;
    this.calls.set(of, calls);
    return calls;
  }
}

function spoil<T extends Uint8Array>(bytes: T, fault: Fault): T {
  if (fault === 'short-read') return bytes.subarray(0, Math.max(0, bytes.byteLength - 1)) as T;
  if (fault !== 'bit-flip' || bytes.byteLength === 0) return bytes;
  const flipped = Buffer.from(bytes);
  const middle = flipped.byteLength >> 1;
  flipped[middle] = flipped[middle]! ^ 0x10;
  return flipped as Uint8Array as T;
}

/** Spoils the first piece: enough for any reader to notice or to be caught. */
async function* spoilPieces(pieces: AsyncIterable<Uint8Array>, fault: Fault): AsyncIterable<Uint8Array> {
  let isFirst = true;
  for await (const piece of pieces) {
    yield isFirst ? spoil(piece, fault) : piece;
    isFirst = false;
  }
}
