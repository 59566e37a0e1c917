/** Runs `work` on what comes from `source`, up to `aheadCount` + 1 at once, and yields the results in the order of the source. */
export async function* readAhead<T, R>(
  source: Iterable<T> | AsyncIterable<T>,
  aheadCount: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const pending: Promise<R>[] = [];
  try {
    for await (const item of source) {
      const result = work(item);
      // Awaited in its turn below; until then a failure must not count as unhandled.
      result.catch(() => {});
      pending.push(result);
      if (pending.length > aheadCount) yield await pending.shift()!;
    }
    while (pending.length > 0) yield await pending.shift()!;
  } finally {
    await Promise.allSettled(pending);
  }
}

/** Lets at most `count` pieces of work run at once; the others wait in order. */
export class Limiter {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      // The place goes straight to the next in line, so that nobody can slip in between.
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
