import { assert, SECOND_MS, type Clock } from '#libs/kernel';

/** Holds a stream of bytes to a rate, with bursts of at most a quarter of a second. Whoever asks first is served first. */
export class TokenBucket {
  #rate: number | null;
  #tokens = 0;
  #filledAtMs: number;
  #turn: Promise<void> = Promise.resolve();

  /** `bytesPerSecond`: null is no limit. */
  constructor(
    bytesPerSecond: number | null,
    private readonly clock: Clock,
  ) {
    this.#rate = bytesPerSecond;
    this.#filledAtMs = clock.monotonicMs();
  }

  set bytesPerSecond(rate: number | null) {
    assert(rate === null || rate > 0, 'a rate is positive');
    this.#rate = rate;
  }

  /** Resolves when `bytes` may be sent. More than a burst is fine: it waits accordingly longer. */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    const turn = this.#turn.then(() => this.#wait(bytes, signal));
    this.#turn = turn.catch(() => {});
    await turn;
  }

  async #wait(bytes: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#rate === null) return;
    this.#fill(this.#rate);
    this.#tokens -= bytes;
    if (this.#tokens >= 0) return;
    await this.clock.sleep((-this.#tokens / this.#rate) * SECOND_MS, signal);
  }

  #fill(rate: number): void {
    const nowMs = this.clock.monotonicMs();
    this.#tokens = Math.min(rate / 4, this.#tokens + ((nowMs - this.#filledAtMs) / SECOND_MS) * rate);
    this.#filledAtMs = nowMs;
  }
}
