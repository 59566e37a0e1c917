import { Command } from 'commander';
import { messageOf, PlatformError } from '#libs/kernel';
import { HostDirectory } from '#libs/peer';
import { announceFailure, exitCodeOf } from '#libs/supervisor';
import { readConfig } from './config.js';
import { enrol, type TokenFlags, VERSION } from './enrol.js';
import { run } from './run.js';

interface Flags extends TokenFlags {
  readonly data?: string;
  readonly api?: string;
  readonly fqdn?: string;
  readonly onStop?: string;
}

/** A flag stands in for its environment variable. */
const configOf = ({ data, api, fqdn, onStop }: Flags) =>
  readConfig({
    ...process.env,
    ...(data === undefined ? {} : { DATA_DIR: data }),
    ...(api === undefined ? {} : { API_URL: api }),
    ...(fqdn === undefined ? {} : { REPLICA_NODE_FQDN: fqdn }),
    ...(onStop === undefined ? {} : { ON_STOP: onStop }),
  });

try {
  const program = new Command('holdfast-replica-node')
    .description(
      'Runs failed-over virtual machines on this host. Settings come from the environment: DATA_DIR, STORE_URL, S3_*, BOOT_PROOF_PATTERN, EXPORT_SCRATCH_MAX_GIB, LOG_LEVEL.',
    )
    .version(VERSION)
    .showHelpAfterError();
  program
    .command('enrol')
    .description('Give this host an identity, once, with a one-time enrolment token.')
    .option('--data <dir>', 'directory for identity, overlays and state')
    .option('--token <text>', 'the enrolment token; better in a file, since others can see arguments')
    .option('--token-file <file>', 'a file with the enrolment token; - is the standard input')
    .option('--api <url>', 'where to enrol (default: as the token says)')
    .option('--fqdn <name>', 'this host by its fully qualified name')
    .action(async (flags: Flags) => {
      const config = configOf(flags);
      process.stdout.write(`${await enrol(await HostDirectory.open(config.DATA_DIR), config, flags)}\n`);
    });
  program
    .command('run', { isDefault: true })
    .description('Serve until stopped. Enrols first where ENROLMENT_TOKEN_FILE is given and there is no identity yet.')
    .option('--data <dir>', 'the directory that `enrol` filled')
    .option('--on-stop <what>', '`keep`: running VMs run on and are taken over by the next start; `stop-replicas`: they are ended')
    .action((flags: Flags) => run(configOf(flags)));
  await program.parseAsync();
} catch (error) {
  announceFailure(error);
  const isExpected = error instanceof PlatformError;
  process.stderr.write(`holdfast-replica-node: ${isExpected ? messageOf(error) : ((error as Error).stack ?? messageOf(error))}\n`);
  process.exitCode = exitCodeOf(error);
}
// Everything was ended in order by now; a half-open connection must not keep the process.
process.exit();
