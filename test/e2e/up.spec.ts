import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startEmbeddedPostgres } from '#libs/supervisor';
import { eventually } from '../support/eventually.js';

const HOLDFAST = fileURLToPath(new URL('../../bin/holdfast', import.meta.url));
const START_MS = 60_000;

let dir: string;
let dataDir: string;
let children: ChildProcess[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-up-'));
  chmodSync(dir, 0o711);
  dataDir = join(dir, 'data');
  children = [];
});

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await eventually('no process is left', () => processesOfInstance().length === 0, 30_000);
  rmSync(dir, { recursive: true, force: true });
});

interface Run {
  readonly child: ChildProcess;
  /** Everything it said, on both streams. */
  said(): string;
  readonly exited: Promise<number | null>;
}

function up(args: readonly string[] = [], env: Record<string, string> = {}): Run {
  const child = spawn(HOLDFAST, ['up', '--data', dataDir, '--replica-nodes', '0', ...args], { env: { PATH: process.env['PATH'], ...env } });
  children.push(child);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (said += String(data)));
  const exited = once(child, 'close').then(([code]) => code as number | null);
  return { child, said: () => said, exited };
}

async function isUp(run: Run): Promise<string> {
  await eventually('it is up', () => run.said().includes('Holdfast is up.'), START_MS);
  return /http:\/\/127\.0\.0\.1:\d+/.exec(run.said())![0];
}

/** Everything that this test's data directory marks as its own. A zombie has no environment left. */
function processesOfInstance(): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`HOLDFAST_INSTANCE=${dataDir}\0`);
    } catch {
      return false;
    }
  });
}

describe('holdfast up', () => {
  it('serves until Ctrl-C, keeps its data, and leaves nothing behind, not even after kill -9', async () => {
    const first = up();
    const apiUrl = await isUp(first);
    expect((await fetch(`${apiUrl}/health/ready`)).status).toBe(200);
    const password = /password {2}(\S+)/.exec(first.said())![1];

    const second = up();
    expect(await second.exited).toBe(6);
    expect(second.said()).toMatch(
      /^holdfast: Holdfast runs already in \S+ \(process \d+\); stop that one or choose another directory \([a-z.-]+\)\n$/,
    );
    expect((await fetch(`${apiUrl}/health/ready`)).status).toBe(200);

    first.child.kill('SIGINT');
    expect(await first.exited).toBe(0);
    expect(first.said()).toContain('Stopped.');
    expect(processesOfInstance()).toEqual([]);

    const third = up();
    expect(await isUp(third)).toBe(apiUrl);
    expect(third.said()).not.toContain(password);
    third.child.kill('SIGKILL');
    await eventually('no process is left', () => processesOfInstance().length === 0, 30_000);
  });

  it('stops in order when it is interrupted while it starts', async () => {
    const run = up();
    await eventually('it migrates', () => run.said().includes('bringing the database up to date'), START_MS);
    run.child.kill('SIGINT');
    expect(await run.exited).toBe(130);
    expect(processesOfInstance()).toEqual([]);
  });
});

describe('holdfast up, when it cannot', () => {
  /** One sentence after what was being done, and no stack. */
  const complaint = (run: Run): string[] =>
    run
      .said()
      .split('\n')
      .filter((line) => line !== '' && !line.endsWith('…'));

  it('says that a port is taken', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const run = up(['--api-port', `${port}`]);
    expect(await run.exited).toBe(6);
    server.close();
    expect(complaint(run)).toEqual([
      expect.stringMatching(
        new RegExp(`^holdfast: port ${port} for the api cannot be used: another program listens on it \\([a-z.-]+\\)$`),
      ),
    ]);
  });

  it('says that the database refuses the password', async () => {
    const postgres = await startEmbeddedPostgres({ dataDir: join(dir, 'elsewhere'), settings: { fsync: 'off' } });
    const url = new URL(postgres.ownerUrl);
    url.password = 'wrong';
    const run = up([], { DATABASE_URL: url.href });
    expect(await run.exited).toBe(3);
    await postgres.stop();
    expect(complaint(run)).toHaveLength(1);
    expect(complaint(run)[0]).toMatch(/^holdfast: .*refuses this login or password/);
    expect(run.said()).not.toContain('wrong');
  });

  it('names every fault in its environment and in its words', async () => {
    const run = up([], { DATABASE_URL: 'mysql://db', REDIS_URL: 'http://redis' });
    expect(await run.exited).toBe(2);
    expect(complaint(run)).toHaveLength(1);
    expect(run.said()).toMatch(/DATABASE_URL .*REDIS_URL /);

    const misspelt = up(['--api-port', 'eighty']);
    expect(await misspelt.exited).toBe(2);
    expect(misspelt.said()).toContain('--api-port');
  });
});
