import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lastWords } from './last-words.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-words-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe('lastWords', () => {
  it.each([
    ['starting\nFATAL: could not write\n    at open (node:fs)\n', 'FATAL: could not write'],
    ['{"level":"error","message":"the store is not reachable"}\nfine\n', 'fine'],
    ['{"level":"error","message":"the store was refused"}\nfine\n', 'the store was refused'],
    ['one\ntwo\n', 'two'],
  ])('finds the telling line of %j', (log, words) => {
    writeFileSync(join(dir, 'log'), log);
    expect(lastWords(join(dir, 'log'))).toBe(words);
  });

  it('says so when there are none', () => {
    expect(lastWords(join(dir, 'none'))).toContain('nothing is in');
  });
});
