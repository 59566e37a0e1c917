import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from './eventually.js';

const HOLDFAST = fileURLToPath(new URL('../../bin/holdfast', import.meta.url));
const START_MS = 60_000;

export interface Run {
  readonly child: ChildProcess;
  /** Everything it said, on both streams. */
  said(): string;
  readonly exited: Promise<number | null>;
}

/** `holdfast up`, as often as wanted, on one data directory of the test's own. Remove it in `afterEach`. */
export class HoldfastUp {
  /** The test's own; PostgreSQL's system user gets through it. */
  readonly dir: string;
  readonly dataDir: string;
  private readonly children: ChildProcess[] = [];

  constructor() {
    this.dir = mkdtempSync(join(tmpdir(), 'holdfast-up-'));
    chmodSync(this.dir, 0o711);
    this.dataDir = join(this.dir, 'data');
  }

  /** Without replica nodes, and with nothing of this process's environment but the path. */
  up(args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Run {
    const child = spawn(HOLDFAST, ['up', '--data', this.dataDir, '--replica-nodes', '0', ...args], {
      env: { PATH: process.env['PATH'], ...env },
    });
    this.children.push(child);
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (said += String(data)));
    const exited = once(child, 'close').then(([code]) => code as number | null);
    return { child, said: () => said, exited };
  }

  /** The api's address, once everything runs; when it ends instead, what it said. */
  async isUp(run: Run): Promise<string> {
    await eventually(
      'it is up',
      () => {
        if (run.child.exitCode !== null) throw new Error(`it ended: ${run.said()}`);
        return run.said().includes('Holdfast is up.');
      },
      START_MS,
    );
    return /http:\/\/127\.0\.0\.1:\d+/.exec(run.said())![0];
  }

  /** The ids of the processes that this data directory marks as its own. A zombie has no environment left. */
  processes(): string[] {
    return readdirSync('/proc').filter((pid) => {
      try {
        return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`HOLDFAST_INSTANCE=${this.dataDir}\0`);
      } catch {
        return false;
      }
    });
  }

  untilNoProcessIsLeft(): Promise<unknown> {
    return eventually('no process is left', () => this.processes().length === 0, 30_000);
  }

  async remove(): Promise<void> {
    for (const child of this.children) child.kill('SIGKILL');
    await this.untilNoProcessIsLeft();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
