import { Command, CommanderError } from 'commander';
import { messageOf } from '#libs/kernel';
import { addUp } from './commands/up.js';
import { readConfig } from './config.js';
import { exitCodeOf } from './exit-code.js';
import { processTerminal } from './terminal.js';

const terminal = processTerminal();

try {
  const program = new Command('holdfast').description('Hosted disaster recovery for virtual machines.').showHelpAfterError().exitOverride();
  addUp(program, readConfig(process.env), terminal);
  await program.parseAsync();
} catch (error) {
  // Commander has said already what was wrong with the words.
  if (!(error instanceof CommanderError)) process.stderr.write(`holdfast: ${messageOf(error)}\n`);
  process.exitCode = exitCodeOf(error);
}
