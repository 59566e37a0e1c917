import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { JsonLinesLogger, SystemClock } from '#libs/kernel';
import { CRASH_POINTS, type CrashPoint, neverCrash, PrimaryAgent, StateDirectory } from '#libs/primary';
import { announceReady } from '#libs/supervisor';

interface RunFlags {
  readonly data: string;
  readonly crashAt?: CrashPoint;
  readonly verbose?: true;
}

export function addRun(program: Command, version: string): void {
  program
    .command('run')
    .description('Find the VMs of this host and replicate those that the provider was told to protect, until stopped.')
    .requiredOption('--data <dir>', 'the directory that `enrol` filled')
    .option('--verbose', 'log everything')
    .addOption(new Option('--crash-at <point>', 'die there, for tests').choices(CRASH_POINTS).hideHelp())
    .action((flags: RunFlags) => run(flags, version));
}

async function run({ data, crashAt, verbose }: RunFlags, version: string): Promise<void> {
  const levels = verbose === true ? (['error', 'warn', 'info', 'debug'] as const) : (['error', 'warn', 'info'] as const);
  const logger = new JsonLinesLogger({ process: 'agent', pid: process.pid }, (line) => void process.stdout.write(line), new Set(levels));
  // Who reads the log may end; the agent need not.
  process.stdout.on('error', () => undefined);
  const stopped = new Promise<string>((told) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => told(signal));
  });
  const agent = await PrimaryAgent.start({
    state: await StateDirectory.open(resolve(data)),
    clock: new SystemClock(),
    logger,
    version,
    environment: process.env,
    crashPoint: crashAt === undefined ? neverCrash : (point) => void (point === crashAt && process.kill(process.pid, 'SIGKILL')),
  });
  const { agentId, fqdn } = agent.status;
  logger.info({ agentId, fqdn, version }, 'the agent runs');
  announceReady({ agentId });
  const signal = await stopped;
  logger.info({ signal }, 'the agent stops');
  await agent.stop();
  logger.info({}, 'the agent has stopped');
}
