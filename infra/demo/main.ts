/**
 * `npm run demo`: the main job, end to end. So far its first step alone: the platform starts, answers, and stops.
 */
import { fileURLToPath } from 'node:url';
import { formatDuration, messageOf, SystemClock } from '#libs/kernel';
import { defaultDataDir, startPlatform } from '#libs/supervisor';

const CHECKOUT = fileURLToPath(new URL('../../..', import.meta.url));
const clock = new SystemClock();
const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => interruption.abort(new Error(`interrupted by ${signal}`)));

const say = (text: string): unknown => process.stdout.write(`${text}\n`);

async function demo(): Promise<void> {
  const startedMs = clock.monotonicMs();
  say('1. The platform starts, each part a process of its own, on any free ports.');
  const platform = await startPlatform({
    dataDir: `${defaultDataDir(CHECKOUT)}/demo`,
    fresh: true,
    replicaNodes: 2,
    signal: interruption.signal,
    onProgress: (doing) => say(`   ${doing} …`),
  });
  try {
    for (const { name, state, pid } of platform.processes.values()) {
      if (state !== 'ready') throw new Error(`${name} is ${state}`);
      say(`   ${name.padEnd(16)} ready, process ${pid}`);
    }
    const { status } = await fetch(`${platform.apiUrl}/health/ready`);
    if (status !== 200) throw new Error(`the api answers ${status} when asked whether it is ready`);
    say(`   up after ${formatDuration(clock.monotonicMs() - startedMs)}`);
  } finally {
    await platform.stop();
  }
  say('   stopped; nothing is left running.');
  say('\nNot shown yet: tenants and agents, a running VM, replication, refusals, the disaster and the failover, exports.');
}

try {
  await demo();
} catch (error) {
  process.stderr.write(`demo: ${messageOf(error)}\n`);
  process.exitCode = 1;
}
