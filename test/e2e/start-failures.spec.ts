import { execFile } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const HOLDFAST = fileURLToPath(new URL('../../bin/holdfast', import.meta.url));

let dir: string;
let dataDir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-start-'));
  chmodSync(dir, 0o711);
  dataDir = join(dir, 'data');
  mkdirSync(dataDir);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Failure {
  readonly code: number;
  readonly said: string;
}

/** Starts it where these mounts stand, which nobody else sees; the data directory is `$1`. */
function upAfter(mounts: string, args: readonly string[] = []): Promise<Failure> {
  const script = `${mounts}\nexec "$0" up --data "$1" ${['--replica-nodes', '0', ...args].join(' ')}`;
  return new Promise((resolve) => {
    execFile('unshare', ['--mount', 'sh', '-e', '-c', script, HOLDFAST, dataDir], { timeout: 60_000 }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, said: stdout + stderr }),
    );
  });
}

const isRoot = process.getuid?.() === 0;

describe.skipIf(!isRoot)('holdfast up, where something of the machine is missing (hidden by root in a place of its own)', () => {
  it.each<[what: string, mounts: string, args: string[], exitCode: number, sentence: RegExp]>([
    [
      'Redis',
      'mount --bind /dev/null /usr/bin/redis-server',
      [],
      3,
      /Redis is not installed .*redis-server, or set REDIS_URL.*\(redis\.missing\)/,
    ],
    [
      'QEMU',
      'mount --bind /dev/null /usr/bin/qemu-system-x86_64',
      ['--replica-nodes', '1'],
      3,
      /QEMU is not installed .*qemu-system-x86 \(qemu\.missing\)/,
    ],
    ['room on the disk', 'mount -t tmpfs -o size=64m none "$1"', [], 7, /the disk of .* is nearly full: .* free.*\(disk\.full\)/],
    ['the right to write', 'mount -t tmpfs -o ro none "$1"', [], 3, /the file system is read-only \(disk\.read-only\)/],
  ])('says in one sentence that it lacks %s', async (_what, mounts, args, exitCode, sentence) => {
    const { code, said } = await upAfter(mounts, args);
    expect(complaint(said)).toEqual([expect.stringMatching(sentence)]);
    expect({ code, trace: /^\s+at /m.test(said) }).toEqual({ code: exitCode, trace: false });
  });

  it('says in one sentence that the directory is another user’s, and leaves it as it is', async () => {
    chownSync(dataDir, 12_345, 12_345);
    const { code, said } = await upAfter('');
    expect(complaint(said)).toEqual([expect.stringMatching(/belongs to another user .*\(instance\.foreign-directory\)$/)]);
    expect([code, readdirSync(dataDir)]).toEqual([4, []]);
  });
});

/** What it says beside its progress. */
const complaint = (said: string): string[] => said.split('\n').filter((line) => line !== '' && !line.endsWith('…'));
