import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startEmbeddedPostgres } from '#libs/supervisor';
import { eventually } from '../support/eventually.js';
import { HoldfastUp, type Run } from '../support/holdfast-up.js';

const START_MS = 60_000;

let holdfast: HoldfastUp;

beforeEach(() => {
  holdfast = new HoldfastUp();
});
afterEach(() => holdfast.remove());

describe('holdfast up', () => {
  it('serves until Ctrl-C, keeps its data, and leaves nothing behind, not even after kill -9', async () => {
    const first = holdfast.up();
    const apiUrl = await holdfast.isUp(first);
    expect((await fetch(`${apiUrl}/health/ready`)).status).toBe(200);
    const password = /password {2}(\S+)/.exec(first.said())![1];

    const second = holdfast.up();
    expect(await second.exited).toBe(6);
    expect(second.said()).toMatch(
      /^holdfast: Holdfast runs already in \S+ \(process \d+\); stop that one or choose another directory \([a-z.-]+\)\n$/,
    );
    expect((await fetch(`${apiUrl}/health/ready`)).status).toBe(200);

    first.child.kill('SIGINT');
    expect(await first.exited).toBe(0);
    expect(first.said()).toContain('Stopped.');
    expect(holdfast.processes()).toEqual([]);

    const third = holdfast.up();
    expect(await holdfast.isUp(third)).toBe(apiUrl);
    expect(third.said()).not.toContain(password);
    third.child.kill('SIGKILL');
    await holdfast.untilNoProcessIsLeft();
  });

  it('stops in order when it is interrupted while it starts', async () => {
    const run = holdfast.up();
    await eventually('it migrates', () => run.said().includes('bringing the database up to date'), START_MS);
    run.child.kill('SIGINT');
    expect(await run.exited).toBe(130);
    expect(holdfast.processes()).toEqual([]);
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
    const run = holdfast.up(['--api-port', `${port}`]);
    expect(await run.exited).toBe(6);
    server.close();
    expect(complaint(run)).toEqual([
      expect.stringMatching(
        new RegExp(`^holdfast: port ${port} for the api cannot be used: another program listens on it \\([a-z.-]+\\)$`),
      ),
    ]);
  });

  it('says that the database refuses the password', async () => {
    const postgres = await startEmbeddedPostgres({ dataDir: join(holdfast.dir, 'elsewhere'), settings: { fsync: 'off' } });
    const url = new URL(postgres.ownerUrl);
    url.password = 'wrong';
    const run = holdfast.up([], { DATABASE_URL: url.href });
    expect(await run.exited).toBe(3);
    await postgres.stop();
    expect(complaint(run)).toHaveLength(1);
    expect(complaint(run)[0]).toMatch(/^holdfast: .*refuses this login or password/);
    expect(run.said()).not.toContain('wrong');
  });

  it('names every fault in its environment and in its words', async () => {
    const run = holdfast.up([], { DATABASE_URL: 'mysql://db', REDIS_URL: 'http://redis' });
    expect(await run.exited).toBe(2);
    expect(complaint(run)).toHaveLength(1);
    expect(run.said()).toMatch(/DATABASE_URL .*REDIS_URL /);

    const misspelt = holdfast.up(['--api-port', 'eighty']);
    expect(await misspelt.exited).toBe(2);
    expect(misspelt.said()).toContain('--api-port');
  });
});
