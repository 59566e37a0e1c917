import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, renameSync, statSync } from 'node:fs';
import { MIB, SECOND_MS, type Clock } from '#libs/kernel';

/** How a process is run, once. */
export interface RunSpec {
  /** Unique within one supervisor; names the messages and the handle. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment of the process: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Another system user to run as; only root can ask for one. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** Takes standard output and standard error; appended to. */
  readonly logFile: string;
  /** What asks this process to end in order. After `stopGraceMs` it gets SIGKILL. */
  readonly stopSignal?: 'SIGTERM' | 'SIGINT';
  readonly stopGraceMs?: number;
  /** Opens a channel for {@link announceReady}. Only Node processes of ours understand it. */
  readonly hasChannel: boolean;
  readonly onProgress?: (progress: Readonly<Record<string, unknown>>) => void;
}

/** What a Node process of ours says over its channel; see `announce.ts`. */
export interface ChildMessage {
  readonly ready?: true;
  readonly failed?: { readonly code: string; readonly message: string };
  /** How far it is; the message of before stands. */
  readonly progress?: Readonly<Record<string, unknown>>;
  readonly [detail: string]: unknown;
}

const LOG_SIZE_MAX = 64 * MIB;

/**
 * One life of one child process.
 *
 * The kernel sends the child its stop signal when this process dies, however it dies (`setpriv --pdeathsig`), so that even a
 * killed supervisor leaves nothing running. A child that ignores that is found by the next run, see `leftovers.ts`.
 */
export class ChildRun {
  private readonly child: ChildProcess;
  private last: ChildMessage = {};
  private ended: string | undefined;
  /** Resolves, when the process is gone, to how it ended: `ended with exit code 1`, `was ended by SIGKILL`. */
  readonly exited: Promise<string>;
  readonly startedMs: number;

  constructor(
    private readonly spec: RunSpec,
    private readonly clock: Clock,
  ) {
    this.startedMs = clock.monotonicMs();
    this.child = spawnChild(spec);
    this.child.on('message', (message) => {
      const { progress, ...last } = message as ChildMessage;
      if (progress === undefined) this.last = last;
      else spec.onProgress?.(progress);
    });
    this.exited = exitOf(this.child).then((how) => {
      this.ended = how;
      return how;
    });
  }

  get pid(): number | undefined {
    return this.ended === undefined ? this.child.pid : undefined;
  }

  get message(): ChildMessage {
    return this.last;
  }

  /** How it ended, or undefined while it runs. */
  get ending(): string | undefined {
    return this.ended;
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Stop signal (or the one given), grace, SIGKILL. Resolves when it is gone; to false when it had to be killed. */
  async end(signal: NodeJS.Signals = this.spec.stopSignal ?? 'SIGTERM'): Promise<boolean> {
    const patience = new AbortController();
    this.child.kill(signal);
    const endedInTime = await Promise.race([
      this.exited.then(() => true),
      this.clock.sleep(this.spec.stopGraceMs ?? 10 * SECOND_MS, patience.signal).then(() => false),
    ]);
    patience.abort(new Error('it is gone'));
    if (!endedInTime) this.child.kill('SIGKILL');
    await this.exited;
    return endedInTime;
  }
}

function spawnChild({ command, args, env, cwd, user, logFile, stopSignal, hasChannel }: RunSpec): ChildProcess {
  rotate(logFile);
  const log = openSync(logFile, 'a', 0o600);
  const identity = user === undefined ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'];
  const endsWithUs = `--pdeathsig=${(stopSignal ?? 'SIGTERM').slice('SIG'.length)}`;
  try {
    return spawn('/usr/bin/setpriv', [endsWithUs, ...identity, '--', command, ...args], {
      env,
      ...(cwd === undefined ? {} : { cwd }),
      // Its own process group: Ctrl-C reaches the supervisor alone, which stops everything in order.
      detached: true,
      stdio: ['ignore', log, log, ...(hasChannel ? (['ipc'] as const) : [])],
    });
  } finally {
    closeSync(log);
  }
}

function exitOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(`could not be run (${error.message})`));
    child.once('exit', (code, signal) => resolve(signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`));
  });
}

/** One older log is kept, so that a process in trouble for months cannot fill the disk. */
function rotate(logFile: string): void {
  const sizeBytes = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  if (sizeBytes > LOG_SIZE_MAX) renameSync(logFile, `${logFile}.1`);
}
