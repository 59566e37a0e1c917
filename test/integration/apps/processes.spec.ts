import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';
import { startTestRedis, type TestRedis } from '../../support/redis.js';

const DIST = fileURLToPath(new URL('../../../dist/apps/', import.meta.url));

interface Started {
  readonly child: ChildProcess;
  readonly messages: Record<string, unknown>[];
  output: string;
  code: number | null | undefined;
}

let database: TestDatabase;
let redis: TestRedis;
let directory: string;
let env: Record<string, string>;
const children: ChildProcess[] = [];

beforeAll(async () => {
  [database, redis] = await Promise.all([createTestDatabase(), startTestRedis()]);
  directory = await mkdtemp(join(tmpdir(), 'holdfast-processes-'));
  await mkdir(join(directory, 'portal'));
  await writeFile(join(directory, 'portal', 'index.html'), '<title>Holdfast</title>');
  await writeFile(
    join(directory, 'secrets.json'),
    JSON.stringify({ pepper: randomBytes(32).toString('base64'), kek: randomBytes(32).toString('base64') }),
  );
  env = {
    DATABASE_URL: database.url('holdfast_app'),
    PLATFORM_DATABASE_URL: database.url('holdfast_operator'),
    REDIS_URL: redis.url.reveal(),
    STORE_URL: pathToFileURL(join(directory, 'store')).href,
    SECRETS_FILE: join(directory, 'secrets.json'),
    KEYS_DIR: directory,
    PORTAL_DIR: join(directory, 'portal'),
  };
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});
afterAll(async () => {
  await redis?.stop();
  await database?.drop();
  await rm(directory, { recursive: true, force: true });
});

function start(app: string, environment: Record<string, string>): Started {
  const child = fork(join(DIST, app), { env: environment, execArgv: [], stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  children.push(child);
  const started: Started = { child, messages: [], output: '', code: undefined };
  child.on('message', (message) => started.messages.push(message as Record<string, unknown>));
  child.on('exit', (code) => (started.code = code));
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk: Buffer) => (started.output += chunk.toString()));
  return started;
}

const ready = ({ messages, output, code }: Started) => {
  if (code !== undefined) throw new Error(`ended with ${code}: ${output}`);
  return messages.find((message) => message['ready'] === true);
};

describe('the api', () => {
  it('says where it listens, serves the portal for every page, and ends in order on SIGTERM', async () => {
    const api = start('api/src/main.js', env);
    const { url } = await eventually('ready', () => ready(api), 30_000);
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
    expect(await (await fetch(`${url}/virtual-machines/7`)).text()).toContain('<title>Holdfast</title>');
    const unknown = await fetch(`${url}/api/v1/unknown`);
    expect([unknown.status, ((await unknown.json()) as { code: string }).code]).toEqual([404, 'route.not-found']);
    api.child.kill('SIGTERM');
    expect(await eventually('ended', () => (api.code === undefined ? undefined : [api.code]), 20_000)).toEqual([0]);
  });

  it.each([
    ['a setting is missing', () => ({ DATABASE_URL: '' }), 'config.invalid', /DATABASE_URL/],
    ["a login is a superuser's", () => ({ DATABASE_URL: database.superuserUrl }), 'database.unsafe-login', /is a superuser/],
    [
      'the two logins are swapped',
      () => ({ DATABASE_URL: env['PLATFORM_DATABASE_URL']! }),
      'database.unsafe-login',
      /give the login holdfast_app/,
    ],
    [
      'a password is wrong',
      () => ({ DATABASE_URL: env['DATABASE_URL']!.replace(/:[0-9a-f]+@/, ':wrong@') }),
      'database.login-refused',
      /refuses/,
    ],
    ['its port is taken', () => ({ LISTEN_PORT: new URL(database.superuserUrl).port }), 'listen.port-taken', /is taken/],
    ['it would serve in clear to a network', () => ({ LISTEN_HOST: '0.0.0.0' }), 'listen.plain-http', /loopback/],
  ])('ends with one clear sentence and code 1 when %s', async (_name, change, code, sentence) => {
    const api = start('api/src/main.js', { ...env, ...change() });
    await eventually('ended', () => api.code !== undefined, 30_000);
    expect(api.code).toBe(1);
    expect(api.messages).toEqual([{ failed: { code, message: expect.stringMatching(sentence) } }]);
    expect(api.output).not.toMatch(/\n\s+at /);
    expect(api.output).not.toContain('stack');
  });
});

describe('the worker', () => {
  it('starts, and ends in order on SIGTERM', async () => {
    const worker = start('worker/src/main.js', { ...env, PLATFORM_DATABASE_URL: database.url('holdfast_worker') });
    await eventually('ready', () => ready(worker), 30_000);
    worker.child.kill('SIGTERM');
    expect(await eventually('ended', () => (worker.code === undefined ? undefined : [worker.code]), 20_000)).toEqual([0]);
  });

  it('refuses a Redis that does not answer', async () => {
    const environment = { ...env, PLATFORM_DATABASE_URL: database.url('holdfast_worker'), REDIS_URL: 'unix:///nowhere/redis.sock' };
    const worker = start('worker/src/main.js', environment);
    await eventually('ended', () => worker.code !== undefined, 30_000);
    expect([worker.code, worker.messages]).toEqual([1, [{ failed: { code: 'redis.unreachable', message: expect.any(String) } }]]);
  });
});

describe('migrate', () => {
  it('finds nothing to do in a database that is up to date', async () => {
    const migrate = start('api/src/migrate.js', { OWNER_DATABASE_URL: database.superuserUrl });
    await eventually('ended', () => migrate.code !== undefined, 30_000);
    expect([migrate.code, migrate.output]).toEqual([0, expect.stringContaining('the database is up to date')]);
  });
});
