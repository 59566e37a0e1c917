import { inspect } from 'node:util';

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

  [inspect.custom](): string {
    return '[redacted]';
  }
}
