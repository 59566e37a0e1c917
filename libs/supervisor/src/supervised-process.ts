import { assert, backoffMs, CodedError, SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import { ChildRun, type RunSpec } from './child-run.js';
import { lastWords } from './last-words.js';

export interface ProcessSpec extends Omit<RunSpec, 'hasChannel'> {
  /** `message`: a Node process of ours calls {@link announceReady}. A function: asked again and again until it returns true. */
  readonly readiness: 'message' | (() => Promise<boolean>);
  /** Default one minute. */
  readonly readyTimeoutMs?: number;
  /** Brought back with back-off when it dies by itself. Default true. */
  readonly restarts?: boolean;
}

export type ProcessState = 'starting' | 'ready' | 'waiting-to-restart' | 'stopped';

const RESTART_BACKOFF = { firstDelayMs: 250, delayMaxMs: 15 * SECOND_MS };
/** A process that stayed up this long has recovered: its next death starts the back-off anew. */
const STEADY_MS = 30 * SECOND_MS;
const PROBE_EVERY_MS = 25;

/** A child process that is started, watched, brought back when it dies, and stopped. */
export class SupervisedProcess {
  private run: ChildRun | undefined;
  private currentState: ProcessState = 'stopped';
  /** Aborted by `stop`: whoever waits to restart, or for readiness, gives up. */
  private unwanted = new AbortController();

  private constructor(
    private readonly spec: ProcessSpec,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /**
   * Resolves once the process is ready. Throws `process.not-ready`, or the code that the process announced itself; then, and
   * when `signal` aborts the start, nothing is left running.
   */
  static async start(spec: ProcessSpec, clock: Clock, logger: Logger, signal?: AbortSignal): Promise<SupervisedProcess> {
    const supervised = new SupervisedProcess(spec, clock, logger.child({ process: spec.name }));
    await supervised.start(signal);
    return supervised;
  }

  get name(): string {
    return this.spec.name;
  }

  /** Undefined while nothing runs. Another one after every restart. */
  get pid(): number | undefined {
    return this.run?.pid;
  }

  get state(): ProcessState {
    return this.currentState;
  }

  /** What the process told with {@link announceReady}. */
  get details(): Readonly<Record<string, unknown>> {
    return this.run?.message ?? {};
  }

  /** For crash tests: sends a signal. If it dies of it, it is brought back as after any death. */
  kill(signal: NodeJS.Signals): void {
    this.run?.kill(signal);
  }

  /** Ends it in order (or with `signal`) and starts it again; resolves when it is ready. Also starts a stopped one. */
  async restart(signal?: NodeJS.Signals): Promise<void> {
    await this.stop(signal);
    await this.start();
  }

  /** Ends it for good: stop signal (or `signal`), grace, SIGKILL. Harmless when it is gone already. */
  async stop(signal?: NodeJS.Signals): Promise<void> {
    this.unwanted.abort(new Error('stopped'));
    const run = this.run;
    if (run !== undefined && run.ending === undefined && !(await run.end(signal))) {
      this.logger.warn({}, 'did not stop in time and was killed');
    }
    this.currentState = 'stopped';
  }

  /** Resolves when the process is ready (again). Throws `process.not-ready` after `timeoutMs`. */
  async whenReady(timeoutMs: number): Promise<void> {
    const deadlineMs = this.clock.monotonicMs() + timeoutMs;
    while (this.currentState !== 'ready') {
      if (this.clock.monotonicMs() > deadlineMs) throw this.notReady(`was not ready within ${timeoutMs / SECOND_MS} s`);
      await this.clock.sleep(PROBE_EVERY_MS);
    }
  }

  private async start(signal?: AbortSignal): Promise<void> {
    assert(this.currentState === 'stopped', `${this.name} runs already`);
    this.unwanted = new AbortController();
    const unwanted = this.unwanted.signal;
    try {
      await this.launch(signal === undefined ? unwanted : AbortSignal.any([signal, unwanted]));
    } catch (error) {
      await this.stop();
      throw error;
    }
    if (this.spec.restarts !== false) void this.keepRunning(unwanted);
  }

  private async launch(unwanted: AbortSignal): Promise<void> {
    this.currentState = 'starting';
    const run = new ChildRun({ ...this.spec, hasChannel: this.spec.readiness === 'message' }, this.clock);
    this.run = run;
    await this.becomeReady(run, unwanted);
    this.currentState = 'ready';
    this.logger.info({ pid: run.pid }, 'ready');
  }

  private async becomeReady(run: ChildRun, unwanted: AbortSignal): Promise<void> {
    const { readiness, logFile } = this.spec;
    const timeoutMs = this.spec.readyTimeoutMs ?? 60 * SECOND_MS;
    for (;;) {
      unwanted.throwIfAborted();
      if (run.ending !== undefined) {
        const { failed } = run.message;
        if (failed !== undefined) throw new CodedError(failed.code, 'unavailable', failed.message);
        throw this.notReady(`${run.ending} while it started: ${lastWords(logFile)}`);
      }
      if (readiness === 'message' ? run.message.ready === true : await readiness()) return;
      if (this.clock.monotonicMs() - run.startedMs > timeoutMs) {
        throw this.notReady(`was not ready within ${timeoutMs / SECOND_MS} s: ${lastWords(logFile)}`);
      }
      await this.clock.sleep(PROBE_EVERY_MS);
    }
  }

  private async keepRunning(unwanted: AbortSignal): Promise<void> {
    for (let deaths = 1; ; deaths += 1) {
      const run = this.run!;
      const how = await run.exited;
      if (unwanted.aborted) return;
      if (this.clock.monotonicMs() - run.startedMs > STEADY_MS) deaths = 1;
      this.currentState = 'waiting-to-restart';
      const delayMs = backoffMs(RESTART_BACKOFF, deaths);
      this.logger.warn({ how, delayMs }, 'died; it is started again');
      try {
        await this.clock.sleep(delayMs, unwanted);
        await this.launch(unwanted);
      } catch (error) {
        if (unwanted.aborted) return;
        this.logger.warn({ error }, 'could not be started again');
        await this.run?.end('SIGKILL');
      }
    }
  }

  private notReady(what: string): CodedError {
    return new CodedError('process.not-ready', 'unavailable', `${this.name} ${what}`, { process: this.name });
  }
}
