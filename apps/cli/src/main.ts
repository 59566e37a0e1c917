import { CommanderError } from 'commander';
import { SystemClock } from '#libs/kernel';
import { exitCodeOf } from './exit-code.js';
import { describeFailure, failureJson } from './failure.js';
import { createProgram } from './program.js';
import { processTerminal } from './terminal.js';

const environment = { ...process.env };
const terminal = processTerminal(environment);

try {
  await createProgram({ terminal, environment, clock: new SystemClock() }).parseAsync();
} catch (error) {
  // Whatever failed because the person stopped it is their wish, not a failure.
  const reason: unknown = terminal.interrupted.aborted ? terminal.interrupted.reason : error;
  // Commander has said already what was wrong with the words.
  if (!(reason instanceof CommanderError)) terminal.tell(process.argv.includes('--json') ? failureJson(reason) : describeFailure(reason));
  process.exitCode = exitCodeOf(reason);
}
