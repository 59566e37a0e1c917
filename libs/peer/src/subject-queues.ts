/** Work of one subject in the order it came; of several subjects side by side. */
export class SubjectQueues {
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Runs `work` when all earlier work of the subject has ended, well or not. */
  run<T>(subject: string, work: () => Promise<T>): Promise<T> {
    const result = this.#after(this.#tails.get(subject), work);
    this.#tails.set(subject, result);
    const forget = (): void => {
      if (this.#tails.get(subject) === result) this.#tails.delete(subject);
    };
    result.finally(forget).catch(() => {});
    return result;
  }

  /** Resolves when nothing is left to do. */
  async whenIdle(): Promise<void> {
    while (this.#tails.size > 0) await Promise.allSettled(this.#tails.values());
  }

  async #after<T>(former: Promise<unknown> | undefined, work: () => Promise<T>): Promise<T> {
    await former?.catch(() => {});
    return work();
  }
}
