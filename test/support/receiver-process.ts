import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SilentLogger, SystemClock } from '#libs/kernel';
import { APP_ROLE, RECEIVER_ROLE } from '#libs/platform';
import type { CycleCrashPoint } from '#libs/replication';
import { freePort, SupervisedProcess } from '#libs/supervisor';
import type { TestDatabase } from './database.js';
import { until, type TestSite } from './receiver.js';

const MAIN = fileURLToPath(new URL('../../dist/apps/receiver/src/main.js', import.meta.url));

/** A receiver as a process of its own from the compiled files, beside the site's, to be killed and started again. */
export class ReceiverProcess {
  private process: SupervisedProcess | undefined;

  private constructor(
    private readonly env: Readonly<Record<string, string>>,
    private readonly directory: string,
    readonly url: string,
  ) {}

  /** `settings` stand over those that it shares with the site. */
  static async prepare(site: TestSite, database: TestDatabase, settings: Readonly<Record<string, string>> = {}): Promise<ReceiverProcess> {
    const port = await freePort('127.0.0.1');
    const url = `https://127.0.0.1:${port}`;
    const { shared } = site;
    const env = {
      DATABASE_URL: database.url(APP_ROLE),
      PLATFORM_DATABASE_URL: database.url(RECEIVER_ROLE),
      DATABASE_POOL_SIZE: '3',
      PEPPER: shared.PEPPER!.reveal().toString('base64'),
      KEK: shared.KEK!.reveal().toString('base64'),
      STORE_URL: shared.STORE_URL,
      PROVIDER_DOMAIN: shared.PROVIDER_DOMAIN,
      RECEIVER_NAME: 'receiver-2',
      RECEIVER_PORT: `${port}`,
      RECEIVER_URL: url,
      ...settings,
    };
    return new ReceiverProcess(env, await mkdtemp(join(tmpdir(), 'holdfast-receiver-')), url);
  }

  /** Starts it, or starts it again; with a crash point it ends itself there, or pauses itself there. */
  async start(crashAt?: CycleCrashPoint, then: 'die' | 'pause' = 'die'): Promise<void> {
    await this.stop();
    this.process = await SupervisedProcess.start(
      {
        name: 'receiver-2',
        command: process.execPath,
        args: [MAIN],
        env: { ...this.env, ...(crashAt === undefined ? {} : { [then === 'die' ? 'HOLDFAST_CRASH_AT' : 'HOLDFAST_PAUSE_AT']: crashAt }) },
        logFile: join(this.directory, 'log'),
        readiness: 'message',
        restarts: false,
      },
      new SystemClock(),
      new SilentLogger(),
    );
  }

  /** Undefined when it does not run. */
  get pid(): number | undefined {
    return this.process?.pid;
  }

  /** SIGKILL, now. */
  kill(): void {
    this.process?.kill('SIGKILL');
  }

  /** SIGSTOP: it does nothing at all, and its connections and locks stay as they are. */
  async pause(): Promise<void> {
    this.process?.kill('SIGSTOP');
    await this.untilPaused();
  }

  async untilPaused(): Promise<void> {
    await until('the receiver to be paused', async () => {
      const stat = await readFile(`/proc/${this.process?.pid}/stat`, 'utf8');
      return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
    });
  }

  resume(): void {
    this.process?.kill('SIGCONT');
  }

  async untilDead(): Promise<void> {
    await until('the receiver to be dead', () => this.pid === undefined);
  }

  async stop(): Promise<void> {
    this.resume();
    await this.process?.stop();
    this.process = undefined;
  }

  async remove(): Promise<void> {
    await this.stop();
    await rm(this.directory, { recursive: true, force: true });
  }
}
