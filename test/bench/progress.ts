import { formatDuration } from '#libs/kernel';

/** One line on the terminal that says what is going on; where nobody watches, one line for each new step. */
export class Progress {
  #title = '';
  #startedMs = performance.now();
  #lastStep = '';

  constructor(private readonly out: NodeJS.WriteStream) {}

  /** Begins something that has steps. */
  begin(title: string): void {
    this.#title = title;
    this.#lastStep = '';
    this.#startedMs = performance.now();
  }

  step(what: string): void {
    const line = `${this.#title}: ${what} (${formatDuration(performance.now() - this.#startedMs)})`;
    if (this.out.isTTY) this.out.write(`\r\x1b[K${line}`);
    else if (what !== this.#lastStep) this.out.write(`${line}\n`);
    this.#lastStep = what;
  }

  /** Clears the line for what is said next. */
  end(): void {
    if (this.out.isTTY) this.out.write('\r\x1b[K');
  }
}
