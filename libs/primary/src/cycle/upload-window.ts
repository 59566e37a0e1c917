/** Bounds the bytes of sealed segments in memory over all cycles: who seals waits here before the next batch. */
export class UploadWindow {
  #usedBytes = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(private readonly bytesMax: number) {}

  /** Resolves when there is room. What is then added may exceed the bound by one batch for each thread. */
  async room(): Promise<void> {
    while (this.#usedBytes >= this.bytesMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  add(bytes: number): void {
    this.#usedBytes += bytes;
  }

  remove(bytes: number): void {
    this.#usedBytes -= bytes;
    this.#waiting.shift()?.();
  }
}
