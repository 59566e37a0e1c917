import type { ReplicaReport, Report } from '#libs/contracts/commands';
import { SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import type { ReceiverApi } from './receiver-api.js';

export interface ReportSenderOptions {
  readonly receiver: ReceiverApi;
  readonly intervalMs: number;
  readonly version: string;
  readonly capacity: () => NonNullable<Report['capacity']>;
  /** How the running replicas stand now. */
  readonly current: () => Promise<readonly ReplicaReport[]>;
  /** The files that are being made. */
  readonly exports: () => Report['exports'];
  readonly clock: Clock;
  readonly logger: Logger;
}

const REPLICAS_PER_REPORT_MAX = 100;
/** While no receiver is there news wait, the oldest lost first: how things stand now is told anyway. */
const NEWS_MAX = 1000;
const LAST_WORDS_TIMEOUT_MS = 2 * SECOND_MS;

/** The heartbeat: capacity, every change of a replica in order, and how each stands; at once when there is news, else at each interval. */
export class ReportSender {
  readonly #ending = new AbortController();
  #news: ReplicaReport[] = [];
  #wake = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(private readonly options: ReportSenderOptions) {}

  begin(): void {
    this.#running = this.#run();
  }

  /** Tries once more to get rid of the news, for a moment. */
  async end(): Promise<void> {
    this.#ending.abort();
    await this.#running;
    if (this.#news.length > 0) await this.#send(AbortSignal.timeout(LAST_WORDS_TIMEOUT_MS)).catch(() => {});
  }

  tell(report: ReplicaReport): void {
    this.#news.push(report);
    if (this.#news.length > NEWS_MAX) this.#news.shift();
    this.#wake.abort();
  }

  async #run(): Promise<void> {
    const { intervalMs, clock, logger } = this.options;
    const { signal } = this.#ending;
    let failures = 0;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      let hasMore = false;
      try {
        hasMore = await this.#send(signal);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        // A receiver that restarts is no news.
        if (failures === 4) logger.warn({ error }, 'reports do not get through');
      }
      // After a failure news do not hurry: the interval is the back-off.
      const woken = failures > 0 ? signal : AbortSignal.any([signal, this.#wake.signal]);
      if (!hasMore) await clock.sleep(intervalMs, woken).catch(() => {});
    }
  }

  /** Returns whether more is waiting. News leave the queue only when a receiver took them. */
  async #send(signal: AbortSignal): Promise<boolean> {
    const { receiver, version, capacity, current, exports } = this.options;
    const news = this.#news.slice(0, REPLICAS_PER_REPORT_MAX);
    const told = new Set(this.#news.map(({ failoverId }) => failoverId));
    const standing = (await current()).filter(({ failoverId }) => !told.has(failoverId));
    const replicas = [...news, ...standing].slice(0, REPLICAS_PER_REPORT_MAX);
    await receiver.report({ version, capacity: capacity(), replicas, exports: exports() }, signal);
    this.#news = this.#news.filter((report) => !news.includes(report));
    return this.#news.length > 0;
  }
}
