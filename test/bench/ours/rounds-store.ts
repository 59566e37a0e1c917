import { WrappedObjectStore, type ByteRange } from '#libs/object-store';

/** Turns of the event loop without a new read after which nobody is going to ask before an answer comes. */
const QUIET_TURNS = 20;

/**
 * Counts reads that have to wait for one another, which is what a far store makes one feel: reads are held until everything was asked that could be,
 * then all are answered at once. Each such round is one sequential read.
 */
export class RoundsStore extends WrappedObjectStore {
  rounds = 0;
  /** Reads altogether. */
  reads = 0;
  #waiting: (() => void)[] = [];
  #answering = 0;
  #quietTurns = 0;
  #isWatching = false;

  override async get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    await this.#turn();
    try {
      return await super.get(key, range, signal);
    } finally {
      this.#answering -= 1;
    }
  }

  /** The whole object comes with the answer. */
  override async stream(key: string, range?: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    const bytes = await this.get(key, range);
    return (async function* () {
      yield bytes;
    })();
  }

  #turn(): Promise<void> {
    this.reads += 1;
    this.#quietTurns = 0;
    if (!this.#isWatching) this.#watch();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #watch(): void {
    this.#isWatching = true;
    setImmediate(() => {
      this.#quietTurns = this.#answering > 0 ? 0 : this.#quietTurns + 1;
      if (this.#quietTurns >= QUIET_TURNS) this.#answer();
      if (this.#waiting.length > 0 || this.#answering > 0) this.#watch();
      else this.#isWatching = false;
    });
  }

  #answer(): void {
    if (this.#waiting.length === 0) return;
    this.rounds += 1;
    this.#quietTurns = 0;
    const answered = this.#waiting.splice(0);
    this.#answering += answered.length;
    for (const resolve of answered) resolve();
  }
}
