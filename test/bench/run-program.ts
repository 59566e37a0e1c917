import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Where its standard output goes. Nowhere unless told. */
  readonly stdoutFile?: string;
  readonly signal?: AbortSignal;
}

/** Runs a program to its end; anything but exit code 0 is an error that tells the end of what it said. */
export async function runProgram(command: string, args: readonly string[], options: ProgramOptions = {}): Promise<void> {
  const { env = {}, cwd, stdoutFile, signal } = options;
  const output = stdoutFile === undefined ? null : openSync(stdoutFile, 'w');
  let said = '';
  try {
    await new Promise<void>((resolve, reject) => {
      const child = spawn(command, args, {
        cwd,
        signal,
        env: { ...process.env, ...env },
        stdio: ['ignore', output ?? 'pipe', 'pipe'],
      });
      const listen = (chunk: Buffer): void => void (said = (said + chunk.toString()).slice(-2000));
      child.stdout?.on('data', listen);
      child.stderr?.on('data', listen);
      child.once('error', reject);
      child.once('close', (code) => (code === 0 ? resolve() : reject(new Error(`${command} ended with ${code}: ${said.trim()}`))));
    });
  } finally {
    if (output !== null) closeSync(output);
  }
}
