import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import Table from 'cli-table3';
import type { Command } from 'commander';
import { type Platform, type PlatformOptions, startPlatform } from '#libs/supervisor';
import { type CliConfig, readConfig, storeOf } from '../config.js';
import type { Surroundings } from '../define-command.js';
import { wholeNumber } from '../parse.js';
import type { Terminal } from '../terminal.js';

interface UpOptions {
  readonly data?: string;
  readonly apiPort?: number;
  readonly receiverPort?: number;
  readonly replicaNodes: number;
}

export function addUp(program: Command, { environment, terminal }: Surroundings): void {
  program
    .command('up')
    .description(
      'Run the whole platform until stopped, for this machine alone: it listens on the loopback address. Its data is kept. ' +
        'VMs that were failed over to its replica nodes end with it; what they wrote is kept.',
    )
    .option('--data <dir>', 'data directory (default: HOLDFAST_DATA_DIR, or one of this checkout)')
    .option('--api-port <port>', 'port of API and portal (default: that of last time, or any free one)', wholeNumber(1, 65_535))
    .option('--receiver-port <port>', 'port of the receiver (default: that of last time, or any free one)', wholeNumber(1, 65_535))
    .option('--replica-nodes <count>', 'replica nodes on this machine', wholeNumber(0, 64), 1)
    .action((options: UpOptions) => up(options, readConfig(environment), terminal));
}

async function up(options: UpOptions, config: CliConfig, terminal: Terminal): Promise<void> {
  const dataDir = resolve(options.data ?? config.HOLDFAST_DATA_DIR);
  const isFirstStart = !existsSync(join(dataDir, 'secrets.json'));
  const { apiPort, receiverPort, replicaNodes } = options;
  const settings: PlatformOptions = {
    dataDir,
    replicaNodes,
    ...(apiPort === undefined ? {} : { apiPort }),
    ...(receiverPort === undefined ? {} : { receiverPort }),
    ...(config.DATABASE_URL === undefined ? {} : { databaseUrl: config.DATABASE_URL }),
    ...(config.REDIS_URL === undefined ? {} : { redisUrl: config.REDIS_URL }),
    ...(storeOf(config) === undefined ? {} : { store: storeOf(config)! }),
    env: {
      LOG_LEVEL: config.LOG_LEVEL,
      ...(config.FOLLOWED_INSTALLATION === undefined ? {} : { FOLLOWED_INSTALLATION: config.FOLLOWED_INSTALLATION }),
      ...(config.EXPORT_SCRATCH_MAX_GIB === undefined ? {} : { EXPORT_SCRATCH_MAX_GIB: config.EXPORT_SCRATCH_MAX_GIB }),
      ...(config.THIRD_SITES_FILE === undefined ? {} : { THIRD_SITES_FILE: resolve(config.THIRD_SITES_FILE) }),
    },
    signal: terminal.interrupted,
    onProgress: (doing) => terminal.say(`  ${doing} …`),
  };
  const platform = await startPlatform(settings);
  terminal.say(
    `\nHoldfast is up.\n${summary(platform, isFirstStart)}\nStop it with Ctrl-C. The data is kept; VMs that were failed over to its replica nodes end with it.`,
  );
  await terminal.whenInterrupted();
  terminal.say('\nStopping; running transfers may finish first …');
  await platform.stop();
  terminal.say('Stopped.');
}

function summary(platform: Platform, isFirstStart: boolean): string {
  const { apiUrl, receiverUrls, dataDir, secrets } = platform;
  const table = new Table({ style: { head: [], border: [] } });
  const password = isFirstStart
    ? `password  ${secrets.operator.password}`
    : `password  see operator.password in ${join(dataDir, 'secrets.json')}`;
  table.push(
    ['Portal and API', apiUrl],
    ['API description', `${apiUrl}/docs`],
    [receiverUrls.length === 1 ? 'Receiver' : 'Receivers', receiverUrls.join('\n')],
    ['First operator', `${secrets.operator.email}\n${password}`],
    ['Processes', [...platform.processes.keys()].join(', ')],
    ['Data', dataDir],
    ['Logs', join(dataDir, 'log')],
  );
  return table.toString();
}
