import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SilentLogger, SystemClock } from '#libs/kernel';
import { type ProcessSpec, SupervisedProcess } from './supervised-process.js';

const clock = new SystemClock();
const logger = new SilentLogger();
const STAYS = `setInterval(() => {}, 1000);`;
const READY = `process.send({ ready: true, port: 4711 });`;

let dir: string;
let running: SupervisedProcess[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-process-'));
  running = [];
});

afterEach(async () => {
  await Promise.all(running.map((each) => each.stop('SIGKILL')));
  rmSync(dir, { recursive: true, force: true });
});

/** A child whose whole program is `code`. */
async function start(code: string, more: Partial<ProcessSpec> = {}, signal?: AbortSignal): Promise<SupervisedProcess> {
  const file = join(dir, 'child.mjs');
  writeFileSync(file, code);
  const spec = {
    name: 'child',
    command: process.execPath,
    args: [file],
    env: {},
    logFile: join(dir, 'child.log'),
    readiness: 'message' as const,
  };
  const supervised = await SupervisedProcess.start({ ...spec, ...more }, clock, logger, signal);
  running.push(supervised);
  return supervised;
}

function isAlive(pid: number): boolean {
  try {
    // A child that ended and was not waited for yet is a zombie: its command line is empty.
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8') !== '';
  } catch {
    return false;
  }
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = clock.monotonicMs() + 5_000;
  while (!condition()) {
    if (clock.monotonicMs() > deadline) throw new Error('it did not come to pass');
    await clock.sleep(10);
  }
}

describe('SupervisedProcess', () => {
  it('is ready when the child says so, and knows what it told', async () => {
    const child = await start(`${STAYS} setTimeout(() => { ${READY} }, 50);`);
    expect(child.state).toBe('ready');
    expect(child.details).toMatchObject({ port: 4711 });
    expect(isAlive(child.pid!)).toBe(true);
  });

  it('is ready when a probe says so', async () => {
    let asked = 0;
    const child = await start(STAYS, { readiness: () => Promise.resolve((asked += 1) === 3) });
    expect(asked).toBe(3);
    expect(child.state).toBe('ready');
  });

  it('hands over the sentence and the code that the child announced', async () => {
    const code = `process.send({ failed: { code: 'database.refused', message: 'the password is wrong' } }, () => process.exit(1));`;
    await expect(start(code)).rejects.toMatchObject({ code: 'database.refused', message: 'the password is wrong' });
  });

  it('quotes the log of a child that ended without a word', async () => {
    await expect(start(`console.log('begun'); console.error('Error: no such table'); process.exit(7);`)).rejects.toMatchObject({
      code: 'process.not-ready',
      message: 'child ended with exit code 7 while it started: Error: no such table',
    });
  });

  it('leaves nothing running when the child is not ready in time', async () => {
    const pidFile = join(dir, 'pid');
    const code = `import fs from 'node:fs'; fs.writeFileSync('${pidFile}', String(process.pid)); ${STAYS}`;
    await expect(start(code, { readyTimeoutMs: 300 })).rejects.toThrow('child was not ready within 0.3 s');
    expect(isAlive(Number(readFileSync(pidFile, 'utf8')))).toBe(false);
  });

  it('gives up a start that is not wanted any more', async () => {
    const starting = start(STAYS, {}, AbortSignal.timeout(100));
    await expect(starting).rejects.toThrow('timeout');
  });

  it('brings a killed child back under another number', async () => {
    const child = await start(`${STAYS} ${READY}`);
    const before = child.pid!;
    child.kill('SIGKILL');
    await until(() => child.pid !== before && child.state === 'ready');
    expect(isAlive(before)).toBe(false);
    expect(isAlive(child.pid!)).toBe(true);
  });

  it('tries again when the child also dies while it comes back', async () => {
    const marker = join(dir, 'lives');
    const lives = `import fs from 'node:fs'; fs.appendFileSync('${marker}', '.'); const life = fs.readFileSync('${marker}').length;`;
    const child = await start(`${lives} if (life === 2) process.exit(1); ${STAYS} ${READY}`);
    child.kill('SIGKILL');
    await until(() => readFileSync(marker).length === 3 && child.state === 'ready');
  });

  it('stays down after stop, also when it was about to come back', async () => {
    const child = await start(`${STAYS} ${READY}`);
    child.kill('SIGKILL');
    await until(() => child.state === 'waiting-to-restart');
    await child.stop();
    expect(child.state).toBe('stopped');
    await clock.sleep(400);
    expect(child.pid).toBeUndefined();
  });

  it('lets the child end in order, and kills one that does not', async () => {
    const orderly = await start(`${STAYS} process.on('SIGTERM', () => { console.log('goodbye'); process.exit(0); }); ${READY}`);
    await orderly.stop();
    expect(readFileSync(join(dir, 'child.log'), 'utf8')).toContain('goodbye');

    const stubborn = await start(`${STAYS} process.on('SIGTERM', () => {}); ${READY}`, { stopGraceMs: 100 });
    const pid = stubborn.pid!;
    await stubborn.stop();
    expect(isAlive(pid)).toBe(false);
  });

  it('starts a stopped one again', async () => {
    const child = await start(`${STAYS} ${READY}`);
    await child.restart('SIGKILL');
    expect(child.state).toBe('ready');
  });
});
