import { JsonLinesLogger, SystemClock } from '#libs/kernel';
import { HostDirectory } from '#libs/peer';
import { bootProbeSettings, EnrolledReplicaNode } from '#libs/replica-node';
import { announceReady } from '#libs/supervisor';
import { cacheBytesOf, exportScratchMaxBytesOf, type ReplicaNodeConfig } from './config.js';
import { enrolIfNew, VERSION } from './enrol.js';
import { openStore } from './store.js';

const LEVELS = ['error', 'warn', 'info', 'debug'] as const;

/** Serves until told to stop, or until the supervisor is gone. */
export async function run(config: ReplicaNodeConfig): Promise<void> {
  const isSupervised = process.send !== undefined;
  const clock = new SystemClock();
  const levels = new Set(LEVELS.slice(0, LEVELS.indexOf(config.LOG_LEVEL) + 1));
  const context = { process: 'replica-node', node: config.REPLICA_NODE_NAME, pid: process.pid };
  const logger = new JsonLinesLogger(context, (line) => void process.stdout.write(line), levels);
  // Who reads the log may end; the node need not.
  process.stdout.on('error', () => undefined);
  const stopped = new Promise<string>((told) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => told(signal));
    process.once('disconnect', () => told('the end of the supervisor'));
  });
  const directory = await HostDirectory.open(config.DATA_DIR);
  await enrolIfNew(directory, config);
  const store = await openStore(config, clock);
  const cacheBytes = cacheBytesOf(config);
  const { BOOT_PROOF_PATTERN: ownPattern } = config;
  const bootProbe = ownPattern === undefined ? bootProbeSettings() : bootProbeSettings(ownPattern);
  const limits = { cacheBytes, exportScratchMaxBytes: exportScratchMaxBytesOf(config) };
  const node = await EnrolledReplicaNode.start({ directory, store, clock, logger, version: VERSION, ...limits, bootProbe });
  logger.info({ version: VERSION }, 'the replica node runs');
  announceReady({ name: config.REPLICA_NODE_NAME });
  const reason = await stopped;
  const machines = config.ON_STOP ?? (isSupervised ? 'stop-replicas' : 'keep');
  logger.info({ reason, machines }, 'the replica node stops');
  await node.stop(machines);
  logger.info({}, 'the replica node has stopped');
}
