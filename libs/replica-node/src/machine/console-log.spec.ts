import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ConsoleLog } from './console-log.js';

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'hf-console-'));
  path = join(directory, 'console.log');
});
afterEach(() => rm(directory, { recursive: true }));

it('keeps what a console brought, also for its next life', async () => {
  const log = new ConsoleLog(path);
  expect(await log.readKept()).toBe('');
  await log.append('one\n');
  await log.append('');
  await log.append('two\n');
  expect(log.tail).toBe('one\ntwo\n');
  const next = new ConsoleLog(path);
  expect(await next.readKept()).toBe('one\ntwo\n');
  await next.append('three\n');
  expect(await readFile(path, 'utf8')).toBe('one\ntwo\nthree\n');
});

it('keeps the end of a flood, without what could steer a terminal', async () => {
  const log = new ConsoleLog(path);
  for (let piece = 0; piece < 20; piece += 1) {
    await log.append('x'.repeat(piece % 3 === 0 ? 256 * 1024 : 30_000));
    expect((await stat(path)).size).toBeLessThanOrEqual(128 * 1024);
  }
  await log.append('\u001b[31m\u001b]0;title\u0007\r\nthe end\u009b\n');
  expect(log.tail.length).toBe(4096);
  expect(log.tail.endsWith('x]0;title\nthe end\n')).toBe(true);
  expect(await readFile(path, 'utf8')).toMatch(/the end.\n$/);
});
