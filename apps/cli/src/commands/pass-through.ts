import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { CodedError } from '#libs/kernel';
import type { Environment } from '../config.js';

/** The compiled applications, of which this is one. */
const APPS = new URL('../../../', import.meta.url);

/** The applications that run on hosts have command lines of their own; here they are under one name with everything else. */
export function addPassThrough(program: Command, environment: Environment): void {
  pass(program, environment, 'agent', 'agent', 'On a primary server: `agent enrol`, `run`, `status`, `mount`, `import`.');
  pass(program, environment, 'node', 'replica-node', 'On a host of the replica cluster: `node enrol`, `node run`.');
}

function pass(program: Command, environment: Environment, name: string, app: string, does: string): void {
  program
    .command(name)
    .summary(does)
    .usage('<command> [options]')
    .argument('[arguments...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action((args: string[]) => {
      const main = fileURLToPath(new URL(`${app}/src/main.js`, APPS));
      if (!existsSync(main)) throw new CodedError('cli.not-built', 'invalid', `${main} is not there: build first, npm run build`);
      // In place of this process: signals, exit code and terminal are the application's own.
      process.execve!(process.execPath, [process.execPath, main, ...(args.length === 0 ? ['--help'] : args)], {
        ...environment,
      } as NodeJS.ProcessEnv);
    });
}
