import { hash, verify } from '@node-rs/argon2';
import { loginBusy } from '../domain/errors.js';

/** OWASP's least for argon2id (which is this library's default): 19 MiB, two passes, one lane. About 20 ms. */
const OPTIONS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };
const CONCURRENT_MAX = 4;
const WAITING_MAX = 64;

/** Hashes and checks passwords, a few at a time: each takes 19 MiB, so a flood of sign-ins is refused rather than served from swap. */
export class Passwords {
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  #decoy: Promise<string> | undefined;

  hash(password: string): Promise<string> {
    return this.#alone(() => hash(password.normalize('NFKC'), OPTIONS));
  }

  /** Takes as long for an account that does not exist (`stored` undefined), so that nobody learns which do. */
  async matches(stored: string | undefined, password: string): Promise<boolean> {
    this.#decoy ??= hash('no account has this password', OPTIONS);
    const against = stored ?? (await this.#decoy);
    const isRight = await this.#alone(() => verify(against, password.normalize('NFKC')));
    return isRight && stored !== undefined;
  }

  async #alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= CONCURRENT_MAX) {
      if (this.#waiting.length >= WAITING_MAX) throw loginBusy();
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running += 1;
    try {
      return await work();
    } finally {
      // The place goes to the next in the queue, or is given up.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}
