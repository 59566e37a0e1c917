import './small-heap.js';
import { Command } from 'commander';
import { messageOf, VERSION } from '#libs/kernel';
import { announceFailure, exitCodeOf, exitWithParent } from '#libs/supervisor';
import { addEnrol } from './enrol-command.js';
import { addImport } from './import-command.js';
import { addMount } from './mount-command.js';
import { addRun } from './run-command.js';
import { addStatus } from './status-command.js';

exitWithParent();
const say = (text: string): void => void process.stdout.write(`${text}\n`);
try {
  const program = new Command('holdfast-agent')
    .description('Replicates the virtual machines of this host.')
    .version(VERSION)
    .showHelpAfterError();
  addEnrol(program, VERSION, say);
  addRun(program, VERSION);
  addStatus(program, say);
  addMount(program, say);
  addImport(program, say);
  await program.parseAsync();
} catch (error) {
  announceFailure(error);
  process.stderr.write(`holdfast-agent: ${messageOf(error)}\n`);
  process.exitCode = exitCodeOf(error);
}
// Everything was ended in order by now; a half-open connection must not keep the process.
if (process.exitCode !== undefined || ['run', 'mount'].includes(process.argv[2] ?? '')) process.exit();
