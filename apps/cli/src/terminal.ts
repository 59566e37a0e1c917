import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';

/** The person at the other end: what is said to them, what they are asked, and their wish to stop. */
export interface Terminal {
  /** The result: to the standard output. */
  say(text: string): void;
  /** What goes on meanwhile: to the standard error, so that a result can be piped. */
  tell(text: string): void;
  /** Whether there is somebody to ask. */
  readonly canAsk: boolean;
  /** Whether results go to a terminal that shows colours. */
  readonly hasColour: boolean;
  /** Where live progress is drawn; `isTTY` says whether it can be. */
  readonly progress: NodeJS.WriteStream;
  ask(question: string): Promise<string>;
  /** As `ask`, without showing what is typed. */
  askSecret(question: string): Promise<string>;
  /** The first line of the standard input. */
  readLine(): Promise<string>;
  /** Aborted by Ctrl-C, SIGTERM or a closed terminal. */
  readonly interrupted: AbortSignal;
  whenInterrupted(): Promise<void>;
}

export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';
}

/** `environment`: NO_COLOR and TERM. */
export function processTerminal(environment: Readonly<Record<string, string | undefined>>): Terminal {
  const interruption = new AbortController();
  const interrupt = (by: string): void => interruption.abort(new InterruptedError(`interrupted by ${by}`));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupt(signal));
  // A reader that went away (`holdfast … | head`) is no reason to leave children behind.
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
  const { signal: interrupted } = interruption;
  const { stdin, stdout, stderr } = process;
  return {
    say: (text) => stdout.write(`${text}\n`),
    tell: (text) => stderr.write(`${text}\n`),
    canAsk: stdin.isTTY && stderr.isTTY,
    hasColour: stdout.isTTY && (environment['NO_COLOR'] ?? '') === '' && environment['TERM'] !== 'dumb',
    progress: stderr,
    ask: (question) => ask(question, false, interrupt),
    askSecret: (question) => ask(question, true, interrupt),
    readLine,
    interrupted,
    whenInterrupted: () =>
      new Promise((resolve) => {
        // The waiting itself must keep the process alive: nothing else may.
        const alive = setInterval(() => undefined, 60_000);
        const done = (): void => {
          clearInterval(alive);
          resolve();
        };
        if (interrupted.aborted) done();
        else interrupted.addEventListener('abort', done, { once: true });
      }),
  };
}

async function ask(question: string, isSecret: boolean, interrupt: (by: string) => void): Promise<string> {
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (!isSecret) process.stderr.write(chunk);
      done();
    },
  });
  const lines = createInterface({ input: process.stdin, output, terminal: true });
  let giveUp = (): void => undefined;
  // In raw mode Ctrl-C is a key like any other, and the end of input closes the interface without an answer.
  const givenUp = new Promise<never>((_resolve, reject) => {
    giveUp = () => {
      interrupt('the keyboard');
      reject(new InterruptedError('interrupted by the keyboard'));
    };
  });
  lines.once('SIGINT', giveUp).once('close', giveUp);
  try {
    if (isSecret) process.stderr.write(question);
    const answer = await Promise.race([lines.question(question), givenUp]);
    return isSecret ? answer : answer.trim();
  } finally {
    lines.off('close', giveUp).close();
    if (isSecret) process.stderr.write('\n');
  }
}

async function readLine(): Promise<string> {
  const lines = createInterface({ input: process.stdin });
  try {
    for await (const line of lines) return line;
    return '';
  } finally {
    lines.close();
    // What may still come must not keep the process.
    process.stdin.destroy();
  }
}
