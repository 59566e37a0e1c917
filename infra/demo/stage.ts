import { type Clock, SECOND_MS } from '#libs/kernel';
import type { Narrator } from './narrator.js';
import type { ReportWriter } from './report.js';

/** What all steps of the demo share. */
export class Stage {
  /** Undone from the end, whatever happens: nothing is left behind. */
  readonly cleanup = new AsyncDisposableStack();

  constructor(
    readonly narrator: Narrator,
    readonly report: ReportWriter,
    readonly clock: Clock,
    /** Aborted by Ctrl-C. */
    readonly signal: AbortSignal,
    /** Everything of this run lies here. */
    readonly dataDir: string,
    /** What belongs to the customer's site lies here: its path is short, since sockets lie in it. */
    readonly siteDir: string,
    /** Shorter waits. */
    readonly isQuick: boolean,
  ) {}

  /** Runs a step and takes its time. */
  async step<T>(name: string, title: string, work: () => Promise<T>): Promise<T> {
    this.signal.throwIfAborted();
    this.narrator.step(title);
    const startedMs = this.clock.monotonicMs();
    try {
      return await work();
    } finally {
      this.report.durations[name] = Math.round(this.clock.monotonicMs() - startedMs);
    }
  }

  /** A fact that the demo stands on. One that does not hold is shown, and decides the exit code; the demo goes on. */
  check(name: string, held: boolean, detail = ''): void {
    this.report.checks.push({ name, held, detail });
    this.narrator.tell(`${held ? '✔' : '✘'} ${name}${detail === '' ? '' : ` (${detail})`}`);
  }

  /** Waits for what something else brings about. Throws when it is not there in time, or when the demo is interrupted. */
  async within<T>(what: string, timeoutMs: number, work: Promise<T>): Promise<T> {
    const waiting = new AbortController();
    const tooLate = this.clock.sleep(timeoutMs, AbortSignal.any([this.signal, waiting.signal])).then((): never => {
      throw new Error(`${what}: not within ${timeoutMs / SECOND_MS} s`);
    });
    try {
      return await Promise.race([work, tooLate]);
    } finally {
      waiting.abort();
    }
  }

  /** Asks again and again until there is an answer. Throws when there is none in time. */
  async until<T>(what: string, ask: () => Promise<T | undefined>, timeoutMs = 60 * SECOND_MS, everyMs = 200): Promise<T> {
    const deadlineMs = this.clock.monotonicMs() + timeoutMs;
    for (;;) {
      const answer = await ask();
      if (answer !== undefined) return answer;
      if (this.clock.monotonicMs() > deadlineMs) throw new Error(`${what}: not within ${timeoutMs / SECOND_MS} s`);
      await this.clock.sleep(everyMs, this.signal);
    }
  }
}
