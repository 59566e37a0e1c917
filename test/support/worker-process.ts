import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { APP_ROLE, WORKER_ROLE } from '#libs/platform';
import type { UpkeepCrashPoint } from '#libs/replication';
import type { TestDatabase } from './database.js';
import { startTestRedis, type TestRedis } from './redis.js';

const MAIN = fileURLToPath(new URL('../../dist/apps/worker/src/main.js', import.meta.url));

/** The worker as a process of its own from the compiled files, with real PostgreSQL, Redis and a directory store, to be killed and started again. */
export class WorkerProcess {
  private child: ChildProcess | undefined;
  private said = '';

  private constructor(
    private readonly redis: TestRedis,
    private readonly directory: string,
    private readonly env: Readonly<Record<string, string>>,
  ) {}

  static async prepare(database: TestDatabase, storeUrl: string): Promise<WorkerProcess> {
    const redis = await startTestRedis();
    const directory = await mkdtemp(join(tmpdir(), 'holdfast-worker-'));
    const env = {
      DATABASE_URL: database.url(APP_ROLE),
      PLATFORM_DATABASE_URL: database.url(WORKER_ROLE),
      DATABASE_POOL_SIZE: '10',
      PEPPER: randomBytes(32).toString('base64'),
      KEK: randomBytes(32).toString('base64'),
      KEYS_DIR: directory,
      REDIS_URL: redis.url.reveal(),
      RECONCILE_INTERVAL_MS: '500',
      STORE_URL: storeUrl,
    };
    return new WorkerProcess(redis, directory, env);
  }

  start(crashAt?: UpkeepCrashPoint): void {
    const env = { ...this.env, ...(crashAt === undefined ? {} : { HOLDFAST_CRASH_AT: crashAt }), PATH: process.env['PATH'] ?? '' };
    this.said = '';
    this.child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout!, this.child.stderr!]) stream.on('data', (piece: Buffer) => (this.said += piece.toString()));
  }

  /** Runs it until it ends itself there. */
  async untilKilledAt(crashAt: UpkeepCrashPoint, deadlineMs: number): Promise<void> {
    this.start(crashAt);
    const late = setTimeout(() => this.child?.kill('SIGTERM'), deadlineMs);
    await once(this.child!, 'exit');
    clearTimeout(late);
    const { signalCode } = this.child!;
    this.child = undefined;
    if (signalCode !== 'SIGKILL') throw new Error(`the worker did not come to ${crashAt}: ${this.said}`);
  }

  async stop(): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  }

  async remove(): Promise<void> {
    await this.stop();
    await this.redis.stop();
    await rm(this.directory, { recursive: true, force: true });
  }
}
