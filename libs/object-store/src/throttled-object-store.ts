import type { Clock } from '#libs/kernel';
import type { ByteRange, Locking, ObjectBody, ObjectEntry, ObjectStore, PutOptions, PutOutcome } from './object-store.js';
import { WrappedObjectStore } from './wrapped-object-store.js';

export interface ThrottleLimits {
  readonly putBytesPerSecond?: number;
  readonly getBytesPerSecond?: number;
  /** Requests of any kind. A list counts as one for every thousand entries. */
  readonly callsPerSecond?: number;
}

const ENTRIES_PER_CALL = 1000;

/**
 * Paces calls, and bytes in and out: each has a rate that all callers share. Nobody waits for a large body to be through: it takes its turns
 * between the others', a twentieth of a second each.
 */
export class ThrottledObjectStore extends WrappedObjectStore {
  private readonly putPace: Pace;
  private readonly getPace: Pace;
  private readonly callPace: Pace;

  constructor(inner: ObjectStore, limits: ThrottleLimits, clock: Clock) {
    super(inner);
    this.putPace = new Pace(limits.putBytesPerSecond, clock);
    this.getPace = new Pace(limits.getBytesPerSecond, clock);
    this.callPace = new Pace(limits.callsPerSecond, clock);
  }

  override async put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    await this.callPace.take(1, options.signal);
    if (!(body instanceof Uint8Array)) return this.inner.put(key, paced(body, this.putPace, options.signal), options);
    await this.putPace.take(body.byteLength, options.signal);
    return this.inner.put(key, body, options);
  }

  override async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    await this.callPace.take(1, signal);
    const bytes = await this.inner.get(key, range, signal);
    await this.getPace.take(bytes.byteLength, signal);
    return bytes;
  }

  override async stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    await this.callPace.take(1);
    return paced(await this.inner.stream(key, range), this.getPace);
  }

  override async head(key: string): Promise<{ sizeBytes: number } | null> {
    await this.callPace.take(1);
    return this.inner.head(key);
  }

  override async *list(prefix: string): AsyncIterable<ObjectEntry> {
    let listed = 0;
    await this.callPace.take(1);
    for await (const entry of this.inner.list(prefix)) {
      yield entry;
      listed += 1;
      if (listed % ENTRIES_PER_CALL === 0) await this.callPace.take(1);
    }
  }

  override async delete(key: string): Promise<void> {
    await this.callPace.take(1);
    await this.inner.delete(key);
  }

  override async locking(): Promise<Locking> {
    await this.callPace.take(1);
    return this.inner.locking();
  }

  override async lock(key: string, until: Date): Promise<void> {
    await this.callPace.take(1);
    await this.inner.lock(key, until);
  }
}

/** A queue in time: each taker waits until those before it are through, then for its own share, and queues anew for the next. */
class Pace {
  private freeAtMs = 0;

  constructor(
    private readonly perSecond: number | undefined,
    private readonly clock: Clock,
  ) {}

  async take(amount: number, signal?: AbortSignal): Promise<void> {
    if (this.perSecond === undefined) return;
    const share = Math.max(1, this.perSecond / 20);
    for (let left = amount; left > 0; left -= share) await this.takeTurn(Math.min(left, share), this.perSecond, signal);
  }

  private async takeTurn(amount: number, perSecond: number, signal?: AbortSignal): Promise<void> {
    const nowMs = this.clock.monotonicMs();
    this.freeAtMs = Math.max(this.freeAtMs, nowMs) + (amount / perSecond) * 1000;
    const waitMs = this.freeAtMs - nowMs;
    if (waitMs >= 1) await this.clock.sleep(waitMs, signal);
  }
}

async function* paced(pieces: AsyncIterable<Uint8Array>, pace: Pace, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  for await (const piece of pieces) {
    await pace.take(piece.byteLength, signal);
    yield piece;
  }
}
