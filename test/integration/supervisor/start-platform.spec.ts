import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Platform, type PlatformOptions, startPlatform } from '#libs/supervisor';
import { eventually } from '../../support/eventually.js';
import { isAlive, kill9, makeApps, runProgram, SUPERVISOR, temporaryDir } from './support.js';

/** Says that it is ready and what it was told. */
const APP = `process.send({ ready: true, env: { ...process.env } }); setInterval(() => {}, 1000);`;
const APPS = {
  'apps/api/src/migrate.js': `import fs from 'node:fs'; fs.appendFileSync('migrated', process.env.OWNER_DATABASE_URL + '\\n');`,
  'apps/api/src/main.js': APP,
  'apps/receiver/src/main.js': APP,
  'apps/worker/src/main.js': APP,
  'apps/replica-node/src/main.js': APP,
};
/** Stand for servers of one's own: none of these applications talks to them. */
const ELSEWHERE = { databaseUrl: 'postgresql://owner:secret@db.example:5433/holdfast?sslmode=require', redisUrl: 'redis://redis.example' };

let dir: string;
let dataDir: string;
let platform: Platform | undefined;

beforeEach(() => {
  dir = temporaryDir();
  dataDir = join(dir, 'data');
});

afterEach(async () => {
  await platform?.stop();
  platform = undefined;
  rmSync(dir, { recursive: true, force: true });
});

async function start(more: Partial<PlatformOptions> = {}, apps: Record<string, string> = APPS): Promise<Platform> {
  platform = await startPlatform({ dataDir, distDir: makeApps(dir, apps), ...ELSEWHERE, ...more });
  return platform;
}

const envOf = (name: string): Record<string, string> => platform!.processes.get(name)!.details['env'] as Record<string, string>;

describe('startPlatform', () => {
  it('starts every process with what it needs and nothing else', async () => {
    // They have their identities: this api makes no enrolment tokens.
    for (const name of ['replica-node-1', 'replica-node-2']) {
      mkdirSync(join(dataDir, name), { recursive: true, mode: 0o700 });
      writeFileSync(join(dataDir, name, 'identity.json'), '{}');
    }
    const { apiUrl, receiverUrls, processes, secrets } = await start({ replicaNodes: 2, receivers: 2 });
    expect([...processes.keys()].sort()).toEqual(['api', 'receiver-1', 'receiver-2', 'replica-node-1', 'replica-node-2', 'worker']);
    expect(apiUrl).toBe(`http://127.0.0.1:${envOf('api')['LISTEN_PORT']}`);
    expect(receiverUrls).toEqual([envOf('receiver-1')['RECEIVER_URL'], envOf('receiver-2')['RECEIVER_URL']]);

    const { holdfast_app, holdfast_worker } = secrets.databaseRolePasswords;
    expect(envOf('worker')).toMatchObject({
      DATABASE_URL: `postgresql://holdfast_app:${holdfast_app}@db.example:5433/holdfast?sslmode=require`,
      PLATFORM_DATABASE_URL: `postgresql://holdfast_worker:${holdfast_worker}@db.example:5433/holdfast?sslmode=require`,
      REDIS_URL: 'redis://redis.example',
      STORE_URL: `file://${join(dataDir, 'store')}`,
    });
    expect(envOf('worker')['KEYS_DIR']).toBe(join(dataDir, 'keys'));
    expect(Object.keys(envOf('receiver-1'))).not.toContain('KEYS_DIR');
    const outsider = envOf('replica-node-1');
    expect(Object.keys(outsider).filter((name) => /DATABASE|REDIS|SECRETS|KEYS_DIR/.test(name))).toEqual([]);
    // Nothing of the shell that started this: its secrets are not the platform's business.
    expect(Object.keys(outsider)).not.toContain('VITEST');
    expect(readFileSync(join(dataDir, 'migrated'), 'utf8')).toBe(`${ELSEWHERE.databaseUrl}\n`);
  });

  it('keeps secrets and ports over a restart, for its user alone', async () => {
    const first = await start();
    const { secrets, apiUrl } = first;
    await first.stop();
    expect(statSync(join(dataDir, 'secrets.json')).mode & 0o777).toBe(0o600);
    expect(statSync(join(dataDir, 'keys')).mode & 0o777).toBe(0o700);
    const second = await start();
    expect(second.secrets).toEqual(secrets);
    expect(second.apiUrl).toBe(apiUrl);
  });

  it('begins empty when asked to', async () => {
    await (await start()).stop();
    writeFileSync(join(dataDir, 'old'), '');
    await start({ fresh: true });
    expect(existsSync(join(dataDir, 'old'))).toBe(false);
  });

  it('brings a killed process back on the same port', async () => {
    const { processes } = await start();
    const receiver = processes.get('receiver-1')!;
    const [pid, port] = [receiver.pid!, envOf('receiver-1')['RECEIVER_PORT']];
    receiver.kill('SIGKILL');
    await eventually('the receiver is back', () => receiver.pid !== pid && receiver.state === 'ready');
    expect(envOf('receiver-1')['RECEIVER_PORT']).toBe(port);
  });

  it('takes more processes in, and stops them with the others', async () => {
    const running = await start();
    const agent = await running.startProcess({ name: 'agent-contoso', main: 'apps/worker/src/main.js', env: { TENANT: 'contoso' } });
    const pid = agent.pid!;
    expect(envOf('agent-contoso')['TENANT']).toBe('contoso');
    await running.stop();
    expect(isAlive(pid)).toBe(false);
  });

  it('runs on the embedded database and queue', async () => {
    platform = await startPlatform({ dataDir, distDir: makeApps(dir, APPS), postgresSettings: { fsync: 'off' } });
    expect([...platform.processes.keys()].slice(0, 2)).toEqual(['postgres', 'redis']);
    expect(envOf('api')['REDIS_URL']).toBe(`unix://${join(dataDir, 'redis', 'redis.sock')}`);
    expect(readFileSync(join(dataDir, 'migrated'), 'utf8')).toMatch(/^postgresql:\/\/holdfast_owner:/);
  });
});

describe('a start that fails', () => {
  it('gives the sentence of the part that failed and leaves nothing running', async () => {
    const pidFile = join(dir, 'pid');
    const apps = {
      ...APPS,
      'apps/api/src/main.js': `import fs from 'node:fs'; fs.writeFileSync('${pidFile}', String(process.pid)); ${APP}`,
      'apps/worker/src/main.js': `process.send({ failed: { code: 'database.refused', message: 'the database refused the password' } }, () => process.exit(1));`,
    };
    await expect(start({}, apps)).rejects.toMatchObject({ code: 'database.refused', message: 'the database refused the password' });
    expect(isAlive(Number(readFileSync(pidFile, 'utf8')))).toBe(false);
  });

  it('quotes a migration that failed', async () => {
    const apps = { ...APPS, 'apps/api/src/migrate.js': `console.error('error: relation does not exist'); process.exit(1);` };
    await expect(start({}, apps)).rejects.toThrow('migrate ended with exit code 1: error: relation does not exist');
  });

  it('names a port that is taken', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    try {
      await expect(start({ apiPort: port })).rejects.toMatchObject({ code: 'listen.port-taken' });
    } finally {
      server.close();
    }
  });

  it('does not disturb an instance that runs in the same directory', async () => {
    const first = await start();
    const pid = first.processes.get('api')!.pid!;
    const second = startPlatform({ dataDir, distDir: join(dir, 'dist'), fresh: true, ...ELSEWHERE });
    await expect(second).rejects.toMatchObject({ code: 'instance.running' });
    expect(isAlive(pid)).toBe(true);
    expect(existsSync(join(dataDir, 'secrets.json'))).toBe(true);
  });

  it('leaves a directory of another user alone', async (context) => {
    if (process.getuid?.() !== 0) context.skip();
    const { chownSync } = await import('node:fs');
    mkdirSync(dataDir);
    chownSync(dataDir, 12_345, 12_345);
    await expect(start()).rejects.toMatchObject({ code: 'instance.foreign-directory' });
  });

  it('is given up when it is not wanted any more', async () => {
    const abort = new AbortController();
    const never = { ...APPS, 'apps/worker/src/main.js': 'setInterval(() => {}, 1000);' };
    const starting = start(
      { signal: abort.signal, onProgress: (doing) => doing.includes('worker') && abort.abort(new Error('interrupted')) },
      never,
    );
    await expect(starting).rejects.toThrow('interrupted');
  });
});

describe('after kill -9 of the supervisor', () => {
  it('no process is left, not even one that ignores the signal once the next start has been', async () => {
    const stubborn = `process.on('SIGTERM', () => {}); ${APP}`;
    const distDir = makeApps(dir, { ...APPS, 'apps/worker/src/main.js': stubborn });
    const options = JSON.stringify({ dataDir, distDir, ...ELSEWHERE });
    const { child, said } = await runProgram<Record<string, number>>(
      dir,
      `import { startPlatform } from '${SUPERVISOR}';
       const { processes } = await startPlatform(${options});
       console.log(JSON.stringify(Object.fromEntries([...processes.values()].map(({ name, pid }) => [name, pid]))));
       setInterval(() => {}, 1000);`,
    );
    const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', dataDir], { stdio: 'ignore' });
    try {
      await kill9(child);
      await eventually('those that obey end', () => !isAlive(said['api']!) && !isAlive(said['receiver-1']!));
      expect(isAlive(said['worker']!)).toBe(true);
      await start({}, { ...APPS, 'apps/worker/src/main.js': APP });
      expect(isAlive(said['worker']!)).toBe(false);
      expect(isAlive(stranger.pid!)).toBe(true);
    } finally {
      await kill9(stranger);
    }
  }, 30_000);
});
