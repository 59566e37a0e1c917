import { type Clock, MINUTE_MS } from '#libs/kernel';
import { loginThrottled } from '../domain/errors.js';

const WINDOW_MS = 15 * MINUTE_MS;
const FAILURES_PER_ACCOUNT_MAX = 10;
const FAILURES_PER_ADDRESS_MAX = 100;
const KEYS_MAX = 50_000;

/**
 * Counts failed sign-ins of an account from an address, and of an address over all accounts. Counts are this process's
 * own: with several api processes the limit is that many times higher, and a restart forgets.
 */
export class LoginThrottle {
  readonly #failures = new Map<string, { count: number; sinceMs: number }>();

  constructor(private readonly clock: Clock) {}

  /** Throws `login.throttled`. */
  assertAllowed(account: string, address: string): void {
    const isOver = this.#count(`${account}|${address}`) >= FAILURES_PER_ACCOUNT_MAX || this.#count(address) >= FAILURES_PER_ADDRESS_MAX;
    if (isOver) throw loginThrottled();
  }

  recordFailure(account: string, address: string): void {
    for (const key of [`${account}|${address}`, address]) {
      const known = this.#failures.get(key);
      const isFresh = known !== undefined && this.clock.monotonicMs() - known.sinceMs < WINDOW_MS;
      this.#failures.set(key, isFresh ? { ...known, count: known.count + 1 } : { count: 1, sinceMs: this.clock.monotonicMs() });
    }
    // The oldest go first: a map keeps the order of insertion.
    while (this.#failures.size > KEYS_MAX) this.#failures.delete(this.#failures.keys().next().value!);
  }

  recordSuccess(account: string, address: string): void {
    this.#failures.delete(`${account}|${address}`);
  }

  #count(key: string): number {
    const known = this.#failures.get(key);
    return known === undefined || this.clock.monotonicMs() - known.sinceMs >= WINDOW_MS ? 0 : known.count;
  }
}
