/** What Node's `util.inspect` asks an object for; by its registered name, because browsers have no `node:util`. */
const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/** A secret in memory: printing, inspecting or serialising it shows `[redacted]`. */
export class Redacted<T = string> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  /** The one way to the secret: at the call that needs it, nowhere else. */
  reveal(): T {
    return this.#value;
  }

  toString(): string {
    return '[redacted]';
  }

  toJSON(): string {
    return '[redacted]';
  }

  [INSPECT](): string {
    return '[redacted]';
  }
}
