import type { Clock } from '#libs/kernel';
import type { ByteRange, ObjectBody, ObjectStore, PutOptions, PutOutcome } from './object-store.js';
import { WrappedObjectStore } from './wrapped-object-store.js';

export interface ThrottleLimits {
  readonly putBytesPerSecond?: number;
  readonly getBytesPerSecond?: number;
}

/** Paces bytes in and out: each direction has a rate that all callers share, in the order in which they came. */
export class ThrottledObjectStore extends WrappedObjectStore {
  private readonly putPace: Pace;
  private readonly getPace: Pace;

  constructor(inner: ObjectStore, limits: ThrottleLimits, clock: Clock) {
    super(inner);
    this.putPace = new Pace(limits.putBytesPerSecond, clock);
    this.getPace = new Pace(limits.getBytesPerSecond, clock);
  }

  override put(key: string, body: ObjectBody, options: PutOptions): Promise<PutOutcome> {
    if (body instanceof Uint8Array) return this.putPaced(key, body, options);
    return this.inner.put(key, paced(body, this.putPace, options.signal), options);
  }

  override async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    const bytes = await this.inner.get(key, range, signal);
    await this.getPace.take(bytes.byteLength, signal);
    return bytes;
  }

  override async stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    return paced(await this.inner.stream(key, range), this.getPace);
  }

  private async putPaced(key: string, body: Uint8Array, options: PutOptions): Promise<PutOutcome> {
    await this.putPace.take(body.byteLength, options.signal);
    return this.inner.put(key, body, options);
  }
}

/** A queue in time: each taker waits until those before it are through, then for its own bytes. */
class Pace {
  private freeAtMs = 0;

  constructor(
    private readonly bytesPerSecond: number | undefined,
    private readonly clock: Clock,
  ) {}

  async take(sizeBytes: number, signal?: AbortSignal): Promise<void> {
    if (this.bytesPerSecond === undefined) return;
    const nowMs = this.clock.monotonicMs();
    this.freeAtMs = Math.max(this.freeAtMs, nowMs) + (sizeBytes / this.bytesPerSecond) * 1000;
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
