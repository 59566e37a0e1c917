import { createCipheriv, createHash, type Cipheriv } from 'node:crypto';

/** The same bytes for the same name, on every machine: a key stream. */
export class RandomBytes {
  readonly #cipher: Cipheriv;
  #pool: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(name: string) {
    const key = createHash('sha256').update(name).digest().subarray(0, 16);
    this.#cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  }

  take(length: number): Buffer {
    return this.#cipher.update(Buffer.alloc(length));
  }

  /** A whole number from 0 up to, but without, `end`. */
  below(end: number): number {
    if (this.#at + 4 > this.#pool.length) {
      this.#pool = this.take(64 * 1024);
      this.#at = 0;
    }
    const value = this.#pool.readUInt32LE(this.#at);
    this.#at += 4;
    return Math.floor((value / 2 ** 32) * end);
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }
}
