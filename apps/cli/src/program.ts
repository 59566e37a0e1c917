import { Command } from 'commander';
import { VERSION } from '#libs/kernel';
import { addAgents, addAllow, addEnrolmentTokens } from './commands/agents.js';
import { addAudit } from './commands/audit.js';
import { addChain } from './commands/chain.js';
import { addCatalogue } from './commands/catalogue.js';
import { addCycles } from './commands/cycles.js';
import { addExtend } from './commands/extend.js';
import { addExport } from './commands/export.js';
import { addFailover } from './commands/failover.js';
import { addKeys } from './commands/keys.js';
import { addMount } from './commands/mount.js';
import { addOperator } from './commands/operator.js';
import { addPassThrough } from './commands/pass-through.js';
import { addPoints } from './commands/points.js';
import { addProtect, addReplication } from './commands/replication.js';
import { addRetention } from './commands/retention.js';
import { addSession } from './commands/session.js';
import { addTokens } from './commands/tokens.js';
import { addUp } from './commands/up.js';
import { addUsers } from './commands/users.js';
import { addVms } from './commands/vms.js';
import type { Surroundings } from './define-command.js';
import { EXIT_CODES_HELP } from './exit-code.js';

/** The whole command line. Parsing throws commander's errors instead of ending the process. */
export function createProgram(surroundings: Surroundings): Command {
  const program = new Command('holdfast')
    .description('Hosted disaster recovery for virtual machines.')
    .version(VERSION, '-V, --version', 'which version this is')
    .enablePositionalOptions()
    .helpCommand(false)
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'holdfast: ')) })
    .showHelpAfterError('(--help shows how it is used)')
    .exitOverride();
  program.commandsGroup('Getting in:');
  addSession(program, surroundings);
  addTokens(program, surroundings);
  addUsers(program, surroundings);
  program.commandsGroup('Protecting VMs:');
  addVms(program, surroundings);
  addProtect(program, surroundings);
  addReplication(program, surroundings);
  addCycles(program, surroundings);
  addPoints(program, surroundings);
  addRetention(program, surroundings);
  addChain(program, surroundings);
  addExtend(program, surroundings);
  program.commandsGroup('After a disaster, or to be ready for one:');
  addFailover(program, surroundings);
  addExport(program, surroundings);
  addMount(program, surroundings);
  addKeys(program, surroundings);
  program.commandsGroup('Primary servers:');
  addAgents(program, surroundings);
  addEnrolmentTokens(program, surroundings);
  addAllow(program, surroundings);
  addAudit(program.commandsGroup('Looking back:'), surroundings);
  program.commandsGroup('The provider:');
  addUp(program, surroundings);
  addCatalogue(program, surroundings);
  addOperator(program, surroundings);
  program.commandsGroup('On the hosts themselves:');
  addPassThrough(program, surroundings.environment);
  program.addHelpText(
    'after',
    `\n\`holdfast <command> --help\` tells more, with examples. Commands that ask the platform answer with JSON to --json.\n\n${EXIT_CODES_HELP}`,
  );
  return program;
}
