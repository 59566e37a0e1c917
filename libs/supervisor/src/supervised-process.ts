import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, renameSync, statSync } from 'node:fs';
import { backoffMs, CodedError, MIB, SECOND_MS, type Clock, type Logger } from '#libs/kernel';
import { lastWords } from './last-words.js';

export interface ProcessSpec {
  /** Unique within one supervisor; names the log file's lines, the messages and the handle. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment of the process: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Another system user to run as; only root can ask for one. */
  readonly user?: { readonly uid: number; readonly gid: number };
  readonly logFile: string;
  /** What asks this process to end in order. After `stopGraceMs` it gets SIGKILL. */
  readonly stopSignal?: 'SIGTERM' | 'SIGINT';
  readonly stopGraceMs?: number;
  /** `message`: a Node process of ours calls {@link announceReady}. A function: asked again and again until it returns true. */
  readonly readiness: 'message' | (() => Promise<boolean>);
  readonly readyTimeoutMs?: number;
  /** Brought back with back-off when it dies by itself. Default true. */
  readonly restarts?: boolean;
}

export type ProcessState = 'starting' | 'ready' | 'waiting-to-restart' | 'stopped';

/** What a Node process of ours says over its channel; see `announce.ts`. */
export interface ChildMessage {
  readonly ready?: true;
  readonly failed?: { readonly code: string; readonly message: string };
  readonly [detail: string]: unknown;
}

const RESTART_BACKOFF = { firstDelayMs: 250, delayMaxMs: 15 * SECOND_MS };
/** A process that stayed up this long has recovered: its next death starts the back-off anew. */
const STEADY_MS = 30 * SECOND_MS;
const PROBE_EVERY_MS = 25;
const LOG_SIZE_MAX = 64 * MIB;

/**
 * One child process: started, watched, brought back, stopped.
 *
 * The kernel sends the child its stop signal when this process dies, however it dies (`setpriv --pdeathsig`), so
 * that even a killed supervisor leaves nothing running. A child that ignores that is found by the next run, see
 * `leftovers.ts`.
 */
export class SupervisedProcess {
  private child: ChildProcess | undefined;
  private currentState: ProcessState = 'stopped';
  private wanted = false;
  private deaths = 0;
  private message: ChildMessage | undefined;
  private readonly restartWait = new Set<AbortController>();

  private constructor(
    private readonly spec: ProcessSpec,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /** Resolves once the process is ready. Throws `process.not-ready` or the code that the process itself announced. */
  static async start(spec: ProcessSpec, clock: Clock, logger: Logger): Promise<SupervisedProcess> {
    const process = new SupervisedProcess(spec, clock, logger.child({ process: spec.name }));
    await process.start();
    return process;
  }

  get name(): string {
    return this.spec.name;
  }

  get pid(): number | undefined {
    return this.child?.pid;
  }

  get state(): ProcessState {
    return this.currentState;
  }

  /** What the process told with {@link announceReady}: its ports, for example. */
  get details(): Readonly<Record<string, unknown>> {
    return this.message?.ready === true ? this.message : {};
  }

  /** For experiments and crash tests: sends a signal; when it dies of it, it is brought back like after any death. */
  kill(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  /** Ends it in order, or at once with SIGKILL, and waits until a new one is ready. Also starts a stopped one. */
  async restart(signal?: 'SIGKILL'): Promise<void> {
    await this.stop(signal);
    await this.start();
  }

  /** Ends it for good: stop signal, grace, SIGKILL. Harmless when it is gone already. */
  async stop(signal?: 'SIGKILL'): Promise<void> {
    this.wanted = false;
    for (const wait of this.restartWait) wait.abort(new Error('stopped'));
    const child = this.child;
    if (child === undefined) {
      this.currentState = 'stopped';
      return;
    }
    const gone = exitOf(child);
    child.kill(signal ?? this.spec.stopSignal ?? 'SIGTERM');
    const patience = new AbortController();
    const killing = this.clock.sleep(this.spec.stopGraceMs ?? 10 * SECOND_MS, patience.signal).then(
      () => {
        this.logger.warn({}, 'did not stop in time and was killed');
        return child.kill('SIGKILL');
      },
      () => undefined,
    );
    await gone;
    patience.abort(new Error('gone'));
    await killing;
    this.currentState = 'stopped';
  }

  /** Resolves when the process is ready (again); rejects after `timeoutMs`. */
  async whenReady(timeoutMs: number): Promise<void> {
    const deadline = this.clock.monotonicMs() + timeoutMs;
    while (this.currentState !== 'ready') {
      if (this.clock.monotonicMs() > deadline) throw notReady(this.spec, `was not ready within ${timeoutMs / SECOND_MS} s`);
      await this.clock.sleep(PROBE_EVERY_MS);
    }
  }

  private async start(): Promise<void> {
    this.wanted = true;
    this.deaths = 0;
    try {
      await this.launch();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  private async launch(): Promise<void> {
    this.currentState = 'starting';
    this.message = undefined;
    const child = this.spawn();
    this.child = child;
    const startedMs = this.clock.monotonicMs();
    child.on('message', (message) => {
      this.message = message as ChildMessage;
    });
    const exited = exitOf(child).then((how) => {
      if (this.child === child) this.child = undefined;
      return how;
    });
    void exited.then((how) => this.onExit(how, startedMs));
    await this.becomeReady(child, exited);
    this.currentState = 'ready';
    this.logger.info({ pid: child.pid }, 'ready');
  }

  private spawn(): ChildProcess {
    const { command, args, env, cwd, user, logFile, readiness } = this.spec;
    rotate(logFile);
    const log = openSync(logFile, 'a', 0o600);
    const identity = user === undefined ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'];
    const dieWithUs = `--pdeathsig=${(this.spec.stopSignal ?? 'SIGTERM').slice(3)}`;
    try {
      return spawn('/usr/bin/setpriv', [dieWithUs, ...identity, '--', command, ...args], {
        env,
        ...(cwd === undefined ? {} : { cwd }),
        // Its own process group: Ctrl-C reaches the supervisor alone, which stops everything in order.
        detached: true,
        stdio: ['ignore', log, log, ...(readiness === 'message' ? (['ipc'] as const) : [])],
      });
    } finally {
      closeSync(log);
    }
  }

  private async becomeReady(child: ChildProcess, exited: Promise<string>): Promise<void> {
    const { readiness, logFile } = this.spec;
    const timeoutMs = this.spec.readyTimeoutMs ?? 60 * SECOND_MS;
    const deadline = this.clock.monotonicMs() + timeoutMs;
    const isReady = readiness === 'message' ? async () => this.message?.ready === true : readiness;
    for (;;) {
      if (this.child !== child) {
        const how = await exited;
        const failed = this.message?.failed;
        if (failed !== undefined) throw new CodedError(failed.code, 'unavailable', failed.message);
        throw notReady(this.spec, `${how} while it started: ${lastWords(logFile)}`);
      }
      if (await isReady()) return;
      if (this.clock.monotonicMs() > deadline)
        throw notReady(this.spec, `was not ready within ${timeoutMs / SECOND_MS} s: ${lastWords(logFile)}`);
      await this.clock.sleep(PROBE_EVERY_MS);
    }
  }

  /** Back-off and launch again until it is ready or nobody wants it any more. A failed launch comes here again through its own exit. */
  private async onExit(how: string, startedMs: number): Promise<void> {
    const died = this.currentState === 'ready' || this.deaths > 0;
    if (!this.wanted || !died || this.spec.restarts === false) return;
    this.currentState = 'waiting-to-restart';
    this.deaths = this.clock.monotonicMs() - startedMs > STEADY_MS ? 1 : this.deaths + 1;
    const delayMs = backoffMs(RESTART_BACKOFF, this.deaths);
    this.logger.warn({ how, delayMs }, 'died; it is started again');
    const wait = new AbortController();
    this.restartWait.add(wait);
    try {
      await this.clock.sleep(delayMs, wait.signal);
      await this.launch();
    } catch (error) {
      // Stopped meanwhile, or the launch failed: its exit, if it is to be tried again, has called us.
      if (this.wanted) this.logger.warn({ error }, 'could not be started again');
      if (this.wanted && this.child !== undefined) this.child.kill('SIGKILL');
    } finally {
      this.restartWait.delete(wait);
    }
  }
}

function exitOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve(howItEnded(child.exitCode, child.signalCode));
    child.once('error', (error) => resolve(`could not be run (${error.message})`));
    child.once('exit', (code, signal) => resolve(howItEnded(code, signal)));
  });
}

function howItEnded(code: number | null, signal: NodeJS.Signals | null): string {
  return signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`;
}

function notReady(spec: ProcessSpec, what: string): CodedError {
  return new CodedError('process.not-ready', 'unavailable', `${spec.name} ${what}`, { process: spec.name });
}

/** One older log is kept, so that a process in trouble for months cannot fill the disk. */
function rotate(logFile: string): void {
  const sizeBytes = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  if (sizeBytes > LOG_SIZE_MAX) renameSync(logFile, `${logFile}.1`);
}
