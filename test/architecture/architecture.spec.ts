import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { RULES } from './rules.js';
import { parseSource } from './source-file.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const ROOMS = ['apps', 'libs', 'infra', 'migrations', 'test'];

const files = ROOMS.flatMap((room) =>
  readdirSync(join(ROOT, room), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => parseSource(relative(ROOT, path), readFileSync(path, 'utf8'))),
);

describe('the house', () => {
  it('has files to look at', () => {
    expect(files.map(({ path }) => path)).toContain('libs/kernel/src/index.ts');
  });

  it.each(Object.entries(RULES))('%s', (_name, rule) => {
    expect(rule(files)).toEqual([]);
  });
});
