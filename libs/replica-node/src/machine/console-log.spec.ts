import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ConsoleLog } from './console-log.js';

let directory: string;
beforeEach(async () => (directory = await mkdtemp(join(tmpdir(), 'hf-console-'))));
afterEach(() => rm(directory, { recursive: true }));

it('reads a console as it grows, once', async () => {
  const path = join(directory, 'console.log');
  const log = new ConsoleLog(path);
  expect(await log.readNew()).toBe('');
  await appendFile(path, 'one\n');
  expect(await log.readNew()).toBe('one\n');
  await appendFile(path, 'two\n');
  expect(await log.readNew()).toBe('two\n');
  expect(await log.readNew()).toBe('');
  expect(log.tail).toBe('one\ntwo\n');
});

it('keeps the end of a flood, without what could steer a terminal', async () => {
  const path = join(directory, 'console.log');
  await appendFile(path, `${'x'.repeat(600_000)}\u001b[31m\u001b]0;title\u0007\r\nthe end\u009b\n`);
  const log = new ConsoleLog(path);
  expect((await log.readNew()).length).toBeLessThanOrEqual(256 * 1024);
  expect(log.tail.length).toBe(4096);
  expect(log.tail.endsWith('x]0;title\nthe end\n')).toBe(true);
});
