import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** The compiled library: what a killed supervisor runs must be a process of its own. */
export const SUPERVISOR = fileURLToPath(new URL('../../../dist/libs/supervisor/src/index.js', import.meta.url));

export function temporaryDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-supervisor-'));
  chmodSync(dir, 0o711);
  return dir;
}

/** False for a zombie too: it ended, and its parent, which was killed, did not wait for it. */
export function isAlive(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8') !== '';
  } catch {
    return false;
  }
}

/** Runs a program of its own; resolves with its first line of output, parsed, once it has printed that. */
export async function runProgram<T>(dir: string, code: string): Promise<{ child: ChildProcess; said: T }> {
  const file = join(dir, 'program.mjs');
  writeFileSync(file, code);
  const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout! });
  const [line] = (await Promise.race([
    once(lines, 'line'),
    once(child, 'exit').then(([exitCode]) => {
      throw new Error(`the program ended with ${exitCode} and said nothing`);
    }),
  ])) as [string];
  return { child, said: JSON.parse(line) as T };
}

export async function kill9(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

/** A directory of compiled applications, each a few lines that stand for the real one. */
export function makeApps(dir: string, apps: Readonly<Record<string, string>>): string {
  const distDir = join(dir, 'dist');
  for (const [main, code] of Object.entries(apps)) {
    const file = join(distDir, main);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, code);
  }
  writeFileSync(join(distDir, 'package.json'), '{"type":"module"}');
  return distDir;
}
