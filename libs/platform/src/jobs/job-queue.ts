import { type Job, Queue, UnrecoverableError, Worker } from 'bullmq';
import { type Logger, messageOf, PlatformError, type Redacted } from '#libs/kernel';
import { redisOptions } from './redis.js';

export interface JobQueueOptions {
  readonly name: string;
  readonly redisUrl: Redacted;
  readonly concurrency: number;
  readonly logger: Logger;
  /** Runs one job, named by an id of a row. Must be safe to run twice. */
  process(rowId: string, signal: AbortSignal): Promise<void>;
}

/** A finished job that is kept would swallow the next one with its id, so none is kept: the row is the record. */
const JOB_OPTIONS = {
  removeOnComplete: true,
  removeOnFail: true,
  attempts: 5,
  backoff: { type: 'exponential', delay: 500, jitter: 0.5 },
} as const;

/**
 * A BullMQ queue and its worker in this process. A job carries the id of a row and nothing else; its own id is made from it
 * and a revision, so that adding it twice is once. Redis may lose all of it: whoever adds jobs adds them again from the rows.
 */
export class JobQueue {
  readonly #queue: Queue;
  readonly #worker: Worker;
  readonly #stopping = new AbortController();

  constructor(options: JobQueueOptions) {
    const connection = redisOptions(options.redisUrl);
    this.#queue = new Queue(options.name, { connection, prefix: 'holdfast', defaultJobOptions: JOB_OPTIONS });
    // BullMQ hands over the abort signal only to a function with three plain parameters.
    const run = (job: Job, _token: string | undefined, signal: AbortSignal | undefined): Promise<void> =>
      this.#run(options, (job.data as { rowId: string }).rowId, signal);
    this.#worker = new Worker(options.name, run, { connection, prefix: 'holdfast', concurrency: options.concurrency, autorun: false });
    const onError = (error: Error): void => options.logger.debug({ error, queue: options.name }, 'redis connection');
    this.#queue.on('error', onError);
    this.#worker.on('error', onError);
  }

  start(): void {
    void this.#worker.run().catch(() => undefined);
  }

  /** Ids must not hold `:` nor be bare integers, says BullMQ; UUIDs and UUIDs with a suffix are neither. */
  async add(jobs: readonly { readonly rowId: string; readonly jobId: string }[]): Promise<void> {
    if (jobs.length === 0) return;
    await this.#queue.addBulk(jobs.map(({ rowId, jobId }) => ({ name: 'run', data: { rowId }, opts: { jobId } })));
  }

  /** Waits for jobs to end after asking them to; what does not listen is run again elsewhere when its lock expires. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('stopping'));
    await this.#worker.close();
    await this.#queue.close();
  }

  async #run(options: JobQueueOptions, rowId: string, signal: AbortSignal | undefined): Promise<void> {
    const signals = signal === undefined ? [this.#stopping.signal] : [this.#stopping.signal, signal];
    try {
      await options.process(rowId, AbortSignal.any(signals));
    } catch (error) {
      if (error instanceof PlatformError && !error.isRetryable) throw new UnrecoverableError(error.code);
      options.logger.warn({ queue: options.name, rowId, error }, `job failed: ${messageOf(error)}; it is tried again`);
      throw error;
    }
  }
}
