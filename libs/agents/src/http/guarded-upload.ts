import type { Readable } from 'node:stream';
import { KIB, SECOND_MS, type Clock } from '#libs/kernel';
import { refusals } from '../domain/errors.js';

export interface UploadGuardOptions {
  /** From Content-Length; the upload must have exactly so many bytes. */
  readonly declaredBytes: number;
  readonly clock: Clock;
  readonly onBytes?: (bytes: number) => void;
  readonly minimumRate?: MinimumRate;
}

/** An upload may take as long as it likes, but in no window may fewer bytes arrive than this. */
export interface MinimumRate {
  readonly bytesPerSecond: number;
  readonly windowMs: number;
}

export const MINIMUM_RATE: MinimumRate = { bytesPerSecond: 64 * KIB, windowMs: 30 * SECOND_MS };

/**
 * The bytes of an upload as they arrive, held to their declared length and to a minimum rate. Only the time that the
 * sender lets us wait counts, not the time that the reader of this takes. Throws `upload.cut`, `upload.longer-than-declared`,
 * `upload.too-slow`; the source is left as it is then, so that the refusal can be answered on its connection.
 */
export async function* guardedUpload(source: Readable, options: UploadGuardOptions): AsyncGenerator<Buffer, void, undefined> {
  const { declaredBytes, clock, onBytes } = options;
  const pace = new Pace(options.minimumRate ?? MINIMUM_RATE);
  const chunks = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let received = 0;
  try {
    for (;;) {
      const waitingSinceMs = clock.monotonicMs();
      const next = await inTime(chunks.next(), pace);
      if (next.done === true) break;
      pace.add(clock.monotonicMs() - waitingSinceMs, next.value.length);
      received += next.value.length;
      onBytes?.(next.value.length);
      if (received > declaredBytes) throw refusals.uploadTooLong(declaredBytes);
      yield next.value;
    }
    if (received < declaredBytes) throw refusals.uploadCut(declaredBytes, received);
  } catch (error) {
    throw isCut(error) ? refusals.uploadCut(declaredBytes, received) : error;
  }
}

/** Waits that the sender caused, in windows: each must bring its due. */
class Pace {
  private waitedMs = 0;
  private bytes = 0;

  constructor(private readonly rate: MinimumRate) {}

  get dueBytes(): number {
    return (this.rate.bytesPerSecond * this.rate.windowMs) / SECOND_MS;
  }

  get bytesPerSecondMin(): number {
    return this.rate.bytesPerSecond;
  }

  get windowLeftMs(): number {
    return Math.max(1, this.rate.windowMs - this.waitedMs);
  }

  add(waitedMs: number, bytes: number): void {
    this.waitedMs += waitedMs;
    this.bytes += bytes;
    if (this.bytes >= this.dueBytes) this.reset();
    else if (this.waitedMs >= this.rate.windowMs) throw refusals.uploadTooSlow(this.rate.bytesPerSecond);
  }

  private reset(): void {
    this.waitedMs = 0;
    this.bytes = 0;
  }
}

function inTime<T>(work: Promise<T>, pace: Pace): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(refusals.uploadTooSlow(pace.bytesPerSecondMin)), pace.windowLeftMs);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** How Node says that the sender went away in the middle. */
function isCut(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  return code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'EPIPE';
}
