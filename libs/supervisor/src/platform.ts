import { accessSync, appendFileSync, constants, existsSync, mkdirSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import {
  CodedError,
  formatBytes,
  MIB,
  JsonLinesLogger,
  MINUTE_MS,
  PlatformError,
  SystemClock,
  type Clock,
  type ErrorKind,
  type Logger,
} from '#libs/kernel';
import { ChildRun } from './child-run.js';
import { startEmbeddedPostgres } from './embedded-postgres.js';
import { lockInstance } from './instance-lock.js';
import { lastWords } from './last-words.js';
import { endLeftoverProcesses, INSTANCE_VARIABLE } from './leftovers.js';
import { platformSecrets, type PlatformSecrets } from './platform-secrets.js';
import { RememberedPorts } from './ports.js';
import { apiUrlOf, migration, processGroups, receiverUrlsOf, type AppProcess, type Site } from './process-table.js';
import { startRedis } from './redis.js';
import { handOutReplicaNodeTokens } from './replica-node-tokens.js';
import { SupervisedProcess } from './supervised-process.js';

/** Below this the platform does not start: PostgreSQL needs room for its log of changes before anything else. */
const FREE_BYTES_MIN = 512 * MIB;
const QEMU = '/usr/bin/qemu-system-x86_64';
const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface PlatformOptions {
  /** Everything that outlives a stop lies here. Made when missing. One instance at a time. */
  readonly dataDir: string;
  /** Begins with an empty data directory: everything in it is removed first. For demos and tests. */
  readonly fresh?: boolean;
  /** An own PostgreSQL in place of the embedded one: the login of a role that may create roles and owns the database. */
  readonly databaseUrl?: string;
  /** An own Redis in place of the child. */
  readonly redisUrl?: string;
  /** `STORE_URL` and `S3_*` in place of the directory `<dataDir>/store`. */
  readonly store?: Readonly<Record<string, string>>;
  readonly replicaNodes?: number;
  /** Default 1. */
  readonly receivers?: number;
  /** Default 127.0.0.1: plain HTTP is for loopback only. */
  readonly host?: string;
  /** Ports asked for must be free; others are those of last time, or any free ones. */
  readonly apiPort?: number;
  readonly receiverPort?: number;
  /** How agents and replica nodes reach the receivers when that is not where they listen: a load balancer's `https://` URL. */
  readonly receiverAddress?: string;
  /** Added to the environment of every process: `LOG_LEVEL`, proxies. Nothing is inherited. */
  readonly env?: Readonly<Record<string, string>>;
  /** Settings for the embedded PostgreSQL. Tests pass `{ fsync: 'off' }`. */
  readonly postgresSettings?: Readonly<Record<string, string>>;
  /** Where the compiled applications are. Default: the `dist` this file belongs to. */
  readonly distDir?: string;
  readonly onProgress?: (doing: string) => void;
  readonly clock?: Clock;
  /** Default: JSON lines in `<dataDir>/log/supervisor.log`. */
  readonly logger?: Logger;
  /** Gives up a start that is under way; nothing is left running. */
  readonly signal?: AbortSignal;
}

export interface Platform {
  readonly dataDir: string;
  readonly apiUrl: string;
  readonly receiverUrls: readonly string[];
  readonly secrets: PlatformSecrets;
  /** By name: `postgres`, `redis`, `api`, `receiver-1`, `worker`, `replica-node-1` … and those of {@link Platform.startProcess}. */
  readonly processes: ReadonlyMap<string, SupervisedProcess>;
  /** One more Node process under this supervisor, with its log in `<dataDir>/log`: agents of a demo, for example. */
  startProcess(app: AppProcess): Promise<SupervisedProcess>;
  /** In order: first who uses, then what is used. Harmless when called twice. */
  stop(): Promise<void>;
}

/**
 * The whole platform on one machine. When this throws, with a `PlatformError` whose message is the one sentence that people
 * need, nothing is left running; what a killed run left is ended first.
 */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const starter = new PlatformStarter(options);
  try {
    return await starter.start();
  } catch (error) {
    await starter.stop();
    options.signal?.throwIfAborted();
    throw explained(error, options.dataDir);
  }
}

class PlatformStarter {
  private readonly clock: Clock;
  private readonly logger: Logger;
  private readonly distDir: string;
  private readonly processes = new Map<string, SupervisedProcess>();
  /** In the order of start; undone from the end. */
  private readonly undo: (() => Promise<void>)[] = [];
  private dataDir: string;

  constructor(private readonly options: PlatformOptions) {
    this.clock = options.clock ?? new SystemClock();
    this.logger =
      options.logger ?? new JsonLinesLogger({ process: 'supervisor' }, (line) => appendFileSync(this.logFile('supervisor'), line));
    this.distDir = resolve(options.distDir ?? ownDistDir());
    this.dataDir = resolve(options.dataDir);
  }

  async start(): Promise<Platform> {
    await this.takeDataDir();
    const { file: secretsFile, secrets } = platformSecrets(this.dataDir);
    const ownerUrl = this.options.databaseUrl ?? (await this.startPostgres());
    const redisUrl = this.options.redisUrl ?? (await this.startRedis());
    const site = await this.siteOf(ownerUrl, redisUrl, secretsFile, secrets);

    const isBuilt = (app: AppProcess): boolean => existsSync(join(this.distDir, app.main));
    this.progress('bringing the database up to date');
    if (isBuilt(migration(site, ownerUrl))) await this.runToEnd(migration(site, ownerUrl));
    for (const group of processGroups(site).map((apps) => apps.filter(isBuilt))) {
      if (group.length === 0) continue;
      this.progress(`starting ${group.map(({ name }) => name).join(', ')}`);
      await handOutReplicaNodeTokens(site, group);
      await this.startGroup(group);
    }
    return {
      dataDir: this.dataDir,
      apiUrl: apiUrlOf(site),
      receiverUrls: receiverUrlsOf(site),
      secrets,
      processes: this.processes,
      startProcess: (app) => this.startNode(app),
      stop: () => this.stop(),
    };
  }

  async stop(): Promise<void> {
    for (let undo = this.undo.pop(); undo !== undefined; undo = this.undo.pop()) await undo();
  }

  private async takeDataDir(): Promise<void> {
    const lock = await lockInstance(this.dataDir);
    this.undo.push(() => lock.release());
    this.dataDir = realpathSync(this.dataDir);
    const ended = await endLeftoverProcesses(this.dataDir, this.clock);
    if (this.options.fresh === true)
      for (const name of readdirSync(this.dataDir)) rmSync(join(this.dataDir, name), { recursive: true, force: true });
    for (const dir of ['log', 'keys']) mkdirSync(join(this.dataDir, dir), { recursive: true, mode: 0o700 });
    const { bavail, bsize } = await statfs(this.dataDir);
    if (bavail * bsize < FREE_BYTES_MIN) {
      const message = `the disk of ${this.dataDir} is nearly full: ${formatBytes(bavail * bsize)} free, at least ${formatBytes(FREE_BYTES_MIN)} needed`;
      throw new CodedError('disk.full', 'exhausted', message, { freeBytes: bavail * bsize });
    }
    if ((this.options.replicaNodes ?? 0) > 0) assertQemuInstalled();
    if (ended > 0) this.logger.warn({ ended }, 'processes of a killed run were still there and were ended');
  }

  private async startPostgres(): Promise<string> {
    this.progress('starting PostgreSQL');
    const postgres = await startEmbeddedPostgres({
      ...this.shared(),
      dataDir: join(this.dataDir, 'postgres'),
      logFile: this.logFile('postgres'),
      env: { [INSTANCE_VARIABLE]: this.dataDir },
      ...(this.options.postgresSettings === undefined ? {} : { settings: this.options.postgresSettings }),
    });
    this.adopt(postgres.process);
    return postgres.ownerUrl;
  }

  private async startRedis(): Promise<string> {
    this.progress('starting Redis');
    const env = { [INSTANCE_VARIABLE]: this.dataDir };
    const redis = await startRedis({ ...this.shared(), dir: join(this.dataDir, 'redis'), logFile: this.logFile('redis'), env });
    this.adopt(redis.process);
    return redis.url;
  }

  private async siteOf(ownerUrl: string, redisUrl: string, secretsFile: string, secrets: PlatformSecrets): Promise<Site> {
    const { host = '127.0.0.1', receivers = 1, replicaNodes = 0, apiPort, receiverPort, receiverAddress } = this.options;
    const ports = new RememberedPorts(join(this.dataDir, 'ports.json'));
    const receiverPorts: number[] = [];
    const chosenApiPort = await ports.choose('api', host, apiPort);
    for (let index = 0; index < receivers; index += 1) {
      const wanted = receiverPort === undefined ? undefined : receiverPort + index;
      receiverPorts.push(await ports.choose(`receiver-${index + 1}`, host, wanted));
    }
    return {
      dataDir: this.dataDir,
      secretsFile,
      operator: secrets.operator,
      databaseUrl: (role) => withLogin(ownerUrl, role, secrets.databaseRolePasswords[role]),
      redisUrl,
      store: this.options.store ?? { STORE_URL: pathToFileURL(join(this.dataDir, 'store')).href },
      host,
      apiPort: chosenApiPort,
      receiverPorts,
      ...(receiverAddress === undefined ? {} : { receiverAddress }),
      replicaNodes,
      portalDir: join(this.distDir, 'apps', 'portal'),
    };
  }

  /** All of a group at once; when one fails, the others are still taken down by `stop`. */
  private async startGroup(group: readonly AppProcess[]): Promise<void> {
    const outcomes = await Promise.allSettled(group.map((app) => this.startNode(app)));
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure !== undefined) throw failure.reason;
  }

  private async startNode(app: AppProcess): Promise<SupervisedProcess> {
    const spec = { ...this.nodeSpec(app), readiness: 'message' as const };
    const started = await SupervisedProcess.start(spec, this.clock, this.logger, this.options.signal);
    return this.adopt(started);
  }

  private async runToEnd(app: AppProcess): Promise<void> {
    const run = new ChildRun({ ...this.nodeSpec(app), hasChannel: true }, this.clock);
    const abort = (): void => run.kill('SIGKILL');
    this.options.signal?.addEventListener('abort', abort, { once: true });
    const how = await run.exited;
    this.options.signal?.removeEventListener('abort', abort);
    const { failed } = run.message;
    if (failed !== undefined) throw new CodedError(failed.code, 'unavailable', failed.message);
    if (how !== 'ended with exit code 0') {
      throw new CodedError('process.failed', 'unavailable', `${app.name} ${how}: ${lastWords(this.logFile(app.name))}`, {
        process: app.name,
      });
    }
  }

  private nodeSpec({ name, main, args = [], env }: AppProcess) {
    const base = { LC_ALL: 'C.UTF-8', PATH: `${dirname(process.execPath)}:${SYSTEM_PATH}`, NODE_ENV: 'production', HOME: this.dataDir };
    return {
      name,
      command: process.execPath,
      args: ['--enable-source-maps', join(this.distDir, main), ...args],
      env: { ...base, ...this.options.env, ...env, [INSTANCE_VARIABLE]: this.dataDir },
      cwd: this.dataDir,
      logFile: this.logFile(name),
      stopGraceMs: MINUTE_MS,
    };
  }

  private adopt(supervised: SupervisedProcess): SupervisedProcess {
    this.processes.set(supervised.name, supervised);
    this.undo.push(() => supervised.stop());
    return supervised;
  }

  private shared() {
    const { signal } = this.options;
    return { clock: this.clock, logger: this.logger, ...(signal === undefined ? {} : { signal }) };
  }

  private logFile(name: string): string {
    return join(this.dataDir, 'log', `${name}.log`);
  }

  private progress(doing: string): void {
    this.options.signal?.throwIfAborted();
    this.options.onProgress?.(doing);
  }
}

/** The compiled files are found from here also when a test runs this from its source. */
function ownDistDir(): string {
  const above = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
  return existsSync(join(above, 'package.json')) ? join(above, 'dist') : above;
}

function withLogin(url: string, user: string, password: string): string {
  const login = new URL(url);
  login.username = user;
  login.password = password;
  return login.href;
}

function assertQemuInstalled(): void {
  try {
    accessSync(QEMU, constants.X_OK);
  } catch (cause) {
    throw new CodedError('qemu.missing', 'unavailable', `QEMU is not installed (${QEMU}): install the package qemu-system-x86`, {}, cause);
  }
}

const SYSTEM_FAULTS: Readonly<Record<string, { readonly code: string; readonly kind: ErrorKind; readonly sentence: string }>> = {
  ENOSPC: { code: 'disk.full', kind: 'exhausted', sentence: 'the disk is full' },
  EACCES: { code: 'disk.forbidden', kind: 'forbidden', sentence: 'this user may not do that there' },
  EPERM: { code: 'disk.forbidden', kind: 'forbidden', sentence: 'this user may not do that there' },
  EROFS: { code: 'disk.read-only', kind: 'unavailable', sentence: 'the file system is read-only' },
};

/** What the operating system refused, as a sentence; anything else as it is. */
function explained(error: unknown, dataDir: string): unknown {
  if (error instanceof PlatformError) return error;
  const { code = '', path = dataDir } = error as NodeJS.ErrnoException;
  const fault = SYSTEM_FAULTS[code];
  if (fault === undefined) return error;
  return new CodedError(fault.code, fault.kind, `${path}: ${fault.sentence}`, {}, error);
}
