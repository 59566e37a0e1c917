/** What the set-up says and how it runs programs: quietly into one log, whose end is shown when a program fails. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const LOG = join(ROOT, '.holdfast', 'setup.log');

/** An expected failure: the message is all that people need. */
export class SetupError extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

export function say(text) {
  process.stdout.write(`${text}\n`);
}

/** Runs a step that takes a while: says what, then how long it took. Its output goes to the log. Throws SetupError. */
export async function step(what, command, args, options = {}) {
  const startedMs = Date.now();
  process.stdout.write(`  ${what} …`);
  const code = await runQuietly(command, args, options);
  if (code === 0) {
    say(` ${((Date.now() - startedMs) / 1000).toFixed(1)} s`);
    return;
  }
  say(' failed');
  throw new SetupError(`${what} failed (${[command, ...args].join(' ')}, exit code ${code}). From ${LOG}:\n${lastOutput()}`);
}

/** The exit code of a program whose output goes to the log; 127 when there is no such program. */
export function runQuietly(command, args, options = {}) {
  mkdirSync(dirname(LOG), { recursive: true });
  const log = openSync(LOG, 'a');
  writeSync(log, `\n$ ${[command, ...args].join(' ')}\n`);
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: ['inherit', log, log], ...options });
    const done = (code) => {
      closeSync(log);
      resolve(code);
    };
    child.once('error', () => done(127));
    child.once('exit', (code, signal) => done(code ?? 128 + constants.signals[signal]));
  });
}

/** Runs a program in the foreground in place of this one: its output, its signals, its exit code. It ends when this process is killed. */
export function handOver(command, args, env) {
  return new Promise((resolve) => {
    const child = spawn('setpriv', ['--pdeathsig=TERM', '--', command, ...args], { cwd: process.cwd(), stdio: 'inherit', env });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
    child.once('error', (error) => {
      process.stderr.write(`${command} could not be run: ${error.message}\n`);
      resolve(127);
    });
    child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal]));
  });
}

/** What the last program said: all of it when it is short, else how it began and how it ended. */
function lastOutput() {
  const log = readFileSync(LOG, 'utf8').trimEnd();
  const lines = log.slice(log.lastIndexOf('\n$ ') + 1).split('\n');
  return (lines.length <= 24 ? lines : [...lines.slice(0, 12), '…', ...lines.slice(-12)]).join('\n');
}
