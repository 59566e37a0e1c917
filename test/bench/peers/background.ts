import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

const READY_MS = 60_000;

/** A program that serves until it is stopped. */
export class BackgroundProgram {
  private constructor(private readonly child: ChildProcess) {}

  /** Resolves once `isReady` says so; an error tells what the program said when it ended before. */
  static async start(
    command: string,
    args: readonly string[],
    isReady: () => boolean,
    env: Readonly<Record<string, string>> = {},
  ): Promise<BackgroundProgram> {
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    const listen = (chunk: Buffer): void => void (said = (said + chunk.toString()).slice(-2000));
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    child.once('error', (error) => void (said += error.message));
    const program = new BackgroundProgram(child);
    for (const deadlineMs = performance.now() + READY_MS; !isReady(); await wait(20)) {
      const hasEnded = child.exitCode !== null || child.pid === undefined;
      if (hasEnded || performance.now() > deadlineMs) {
        await program.stop();
        throw new Error(`${command} does not serve: ${said.trim()}`);
      }
    }
    return program;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.pid === undefined) return;
    const ended = new Promise<void>((resolve) => this.child.once('exit', () => resolve()));
    this.child.kill('SIGINT');
    await ended;
  }
}

/** The disk of a raw file over NBD, by QEMU itself. */
export function startQemuNbd(file: string, socketPath: string): Promise<BackgroundProgram> {
  return BackgroundProgram.start('qemu-nbd', ['-r', '-t', '-e', '16', '-f', 'raw', '-k', socketPath, file], () => existsSync(socketPath));
}
