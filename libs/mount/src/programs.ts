import { spawn, type ChildProcess } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

/** Administrators' programs are not on everybody's path. */
const ALSO = ['/usr/sbin', '/sbin'];

/** The programs of this host, by name. */
export class Programs {
  constructor(private readonly searchPath: string) {}

  /** Its path; null when it is not installed. */
  async find(name: string): Promise<string | null> {
    for (const directory of [...this.searchPath.split(delimiter), ...ALSO]) {
      const path = join(directory, name);
      const isThere = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (directory !== '' && isThere) return path;
    }
    return null;
  }
}

export interface Outcome {
  readonly exitCode: number | null;
  readonly words: string;
}

const WORDS_MAX = 2000;

/** To its end. Rejects when it cannot be started. */
export async function run(program: string, args: readonly string[]): Promise<Outcome> {
  const child = start(program, args);
  return child.ended;
}

export interface Running {
  readonly process: ChildProcess;
  /** What it said on its standard error, and how it ended. */
  readonly ended: Promise<Outcome>;
}

/** In a group of its own: a Ctrl-C is for us, who then end it in order. */
export function start(program: string, args: readonly string[]): Running {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  let words = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (words = (words + text).slice(-WORDS_MAX)));
  const ended = new Promise<Outcome>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode) => resolve({ exitCode, words: words.trim() }));
  });
  ended.catch(() => {});
  return { process: child, ended };
}
