import { existsSync, mkdirSync, realpathSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { CodedError, SystemClock, type Clock } from '#libs/kernel';
import { ChildRun, type ChildMessage } from './child-run.js';
import { startEmbeddedPostgres } from './embedded-postgres.js';
import { lockInstance } from './instance-lock.js';
import { lastWords } from './last-words.js';
import { endLeftoverProcesses, INSTANCE_VARIABLE } from './leftovers.js';
import { platformSecrets, type DatabaseRole } from './platform-secrets.js';

export interface PlatformTaskOptions {
  /** As for `startPlatform`: the platform itself may not run there meanwhile. */
  readonly dataDir: string;
  readonly databaseUrl?: string;
  readonly store?: Readonly<Record<string, string>>;
  /** Below the compiled applications. */
  readonly main: string;
  readonly env: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** What the program tells on its way. */
  readonly onProgress?: (progress: Readonly<Record<string, unknown>>) => void;
  readonly clock?: Clock;
}

/**
 * Runs one program to its end where the platform's database and store are, with nothing else of the platform running: PostgreSQL is started when it is the
 * embedded one, and the database is brought up to date. Gives what the program announced. Throws what it failed with.
 */
export async function runPlatformTask(options: PlatformTaskOptions): Promise<ChildMessage> {
  const clock = options.clock ?? new SystemClock();
  const lock = await lockInstance(resolve(options.dataDir));
  const undo: (() => Promise<unknown>)[] = [() => lock.release()];
  try {
    const dataDir = realpathSync(resolve(options.dataDir));
    await endLeftoverProcesses(dataDir, clock);
    for (const dir of ['log', 'keys']) mkdirSync(join(dataDir, dir), { recursive: true, mode: 0o700 });
    const { file: secretsFile, secrets } = platformSecrets(dataDir);
    let ownerUrl = options.databaseUrl;
    if (ownerUrl === undefined) {
      const env = { [INSTANCE_VARIABLE]: dataDir };
      const logFile = join(dataDir, 'log', 'postgres.log');
      const postgres = await startEmbeddedPostgres({ dataDir: join(dataDir, 'postgres'), logFile, env, clock });
      undo.push(() => postgres.stop());
      ownerUrl = postgres.ownerUrl;
    }
    const run = (main: string, env: Readonly<Record<string, string>>): Promise<ChildMessage> =>
      runNode({ ...options, dataDir, main, env, clock });
    await run('apps/api/src/migrate.js', { OWNER_DATABASE_URL: ownerUrl, SECRETS_FILE: secretsFile, KEYS_DIR: join(dataDir, 'keys') });
    const login = (role: DatabaseRole): string =>
      Object.assign(new URL(ownerUrl), { username: role, password: secrets.databaseRolePasswords[role] }).href;
    return await run(options.main, {
      DATABASE_URL: login('holdfast_app'),
      PLATFORM_DATABASE_URL: login('holdfast_worker'),
      SECRETS_FILE: secretsFile,
      KEYS_DIR: join(dataDir, 'keys'),
      ...(options.store ?? { STORE_URL: pathToFileURL(join(dataDir, 'store')).href }),
      ...options.env,
    });
  } finally {
    for (const each of undo.reverse()) await each();
  }
}

async function runNode({
  dataDir,
  main,
  env,
  signal,
  onProgress,
  clock,
}: PlatformTaskOptions & { readonly clock: Clock }): Promise<ChildMessage> {
  const name = main.replace(/^.*\/|\.js$/g, '');
  const path = fileURLToPath(new URL(`../../../${main}`, import.meta.url));
  if (!existsSync(path)) throw new CodedError('cli.not-built', 'invalid', `${path} is not there: build first, npm run build`);
  const logFile = join(dataDir, 'log', `${name}.log`);
  const own = { LC_ALL: 'C.UTF-8', PATH: `${dirname(process.execPath)}:/usr/bin:/bin`, NODE_ENV: 'production', HOME: dataDir };
  const args = ['--enable-source-maps', path];
  const run = new ChildRun(
    {
      name,
      command: process.execPath,
      args,
      env: { ...own, ...env, [INSTANCE_VARIABLE]: dataDir },
      cwd: dataDir,
      logFile,
      hasChannel: true,
      ...(onProgress === undefined ? {} : { onProgress }),
    },
    clock,
  );
  const abort = (): void => run.kill('SIGTERM');
  signal?.addEventListener('abort', abort, { once: true });
  const how = await run.exited;
  signal?.removeEventListener('abort', abort);
  signal?.throwIfAborted();
  const { failed } = run.message;
  if (failed !== undefined) throw new CodedError(failed.code, 'unavailable', failed.message);
  if (how !== 'ended with exit code 0')
    throw new CodedError('process.failed', 'unavailable', `${name} ${how}: ${lastWords(logFile)}`, { process: name });
  return run.message;
}
