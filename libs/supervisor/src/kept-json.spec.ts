import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { keptJson } from './kept-json.js';
import { platformSecrets } from './platform-secrets.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-kept-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe('keptJson', () => {
  it('makes it once, for its owner alone', () => {
    const file = join(dir, 'a.json');
    expect(keptJson(file, () => ({ a: 1 }))).toEqual({ a: 1 });
    expect(keptJson(file, () => ({ a: 2 }))).toEqual({ a: 1 });
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('refuses to replace a damaged file', () => {
    const file = join(dir, 'a.json');
    writeFileSync(file, '{"a":');
    expect(() => keptJson(file, () => ({ a: 1 }))).toThrow(/is damaged/);
  });
});

describe('platformSecrets', () => {
  it('makes different secrets for each installation and keeps them', () => {
    const { secrets } = platformSecrets(dir);
    const passwords = Object.values(secrets.databaseRolePasswords);
    expect(new Set(passwords).size).toBe(4);
    for (const key of [secrets.pepper, secrets.kek]) expect(Buffer.from(key, 'base64')).toHaveLength(32);
    expect(platformSecrets(dir).secrets).toEqual(secrets);
  });
});
