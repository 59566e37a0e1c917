interface Held<T> {
  readonly value: T;
  readonly bytes: number;
}

/** Keeps what was loaded last, up to a number of bytes. What is asked for while it is being loaded is loaded once; a failure is not kept. */
export class ByteCache<T> {
  readonly #held = new Map<string, Held<T>>();
  readonly #loading = new Map<string, Promise<T>>();
  #bytes = 0;

  constructor(
    private readonly bytesMax: number,
    private readonly bytesOf: (value: T) => number,
  ) {}

  /** What is here already. Counts as a use. */
  held(key: string): T | undefined {
    const held = this.#held.get(key);
    if (held === undefined) return undefined;
    // A map keeps its order: what is used goes to the end, and the beginning is let go first.
    this.#held.delete(key);
    this.#held.set(key, held);
    return held.value;
  }

  async get(key: string, load: () => Promise<T>): Promise<T> {
    const held = this.held(key);
    if (held !== undefined) return held;
    let loading = this.#loading.get(key);
    if (loading === undefined) {
      loading = load()
        .then((value) => this.#keep(key, value))
        .finally(() => this.#loading.delete(key));
      this.#loading.set(key, loading);
    }
    return loading;
  }

  clear(): void {
    this.#held.clear();
    this.#bytes = 0;
  }

  #keep(key: string, value: T): T {
    const bytes = this.bytesOf(value);
    this.#held.set(key, { value, bytes });
    this.#bytes += bytes;
    for (const [oldest, held] of this.#held) {
      if (this.#bytes <= this.bytesMax || oldest === key) break;
      this.#held.delete(oldest);
      this.#bytes -= held.bytes;
    }
    return value;
  }
}
