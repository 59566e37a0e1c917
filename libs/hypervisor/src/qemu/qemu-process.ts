import { spawn, type ChildProcess } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { CodedError } from '#libs/kernel';

const QEMU = 'qemu-system-x86_64';

/** Which Debian package brings a program of QEMU's. */
const PACKAGES: Readonly<Record<string, string>> = { [QEMU]: 'qemu-system-x86', 'qemu-img': 'qemu-utils' };

export interface QemuProcessOptions {
  readonly args: readonly string[];
  /** What QEMU prints is appended here, so that it outlives us. */
  readonly logPath: string;
  readonly diesWithParent: boolean;
}

/** Starts QEMU in its own session: a Ctrl-C for us is not one for it. Error: `qemu.missing`. */
export async function spawnQemu({ args, logPath, diesWithParent }: QemuProcessOptions): Promise<ChildProcess> {
  const log = await open(logPath, 'a');
  try {
    // Node cannot ask the kernel for a death signal; setpriv asks for it and then becomes QEMU.
    const [program, ...prefix] = diesWithParent ? ['setpriv', '--pdeathsig', 'KILL', '--', QEMU] : [QEMU];
    const child = spawn(program!, [...prefix, ...args], { stdio: ['ignore', log.fd, log.fd], detached: true });
    await spawned(child, program!);
    child.unref();
    return child;
  } finally {
    await log.close();
  }
}

/** Runs `qemu-img` to its end. Errors: `qemu.missing`, `qemu.image-failed`. */
export async function runQemuImg(args: readonly string[]): Promise<void> {
  const child = spawn('qemu-img', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4096)));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  await spawned(child, 'qemu-img');
  const exitCode = await ended;
  if (exitCode !== 0) throw new CodedError('qemu.image-failed', 'unavailable', `qemu-img ${args[0]} failed: ${said.trim()}`, { exitCode });
}

/** The last lines of what QEMU printed. */
export async function lastWords(logPath: string): Promise<string> {
  const text = await readFile(logPath, 'utf8').catch(() => '');
  return text.trim().split('\n').slice(-5).join('\n');
}

export function qemuExited(exitCode: number | null, signal: string | null, words: string): CodedError {
  const how = signal === null ? `with code ${exitCode}` : `by ${signal}`;
  return new CodedError('qemu.exited', 'unavailable', `QEMU ended ${how}: ${words || 'it said nothing'}`, { exitCode, signal });
}

function spawned(child: ChildProcess, program: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) => reject((error as NodeJS.ErrnoException).code === 'ENOENT' ? missing(program) : error));
  });
}

function missing(program: string): CodedError {
  const packageName = PACKAGES[program] ?? 'util-linux';
  return new CodedError('qemu.missing', 'unavailable', `${program} is not installed; on Debian: apt-get install ${packageName}`, {
    program,
    packageName,
  });
}
