import { mkdir, readdir } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { GIB, MIB, messageOf, SilentLogger, SystemClock } from '#libs/kernel';
import { NbdClient } from '#libs/nbd';
import { BlockCache, DiskServer, exportNameOf, PointReader } from '#libs/replica-node';
import type { Bench } from '../bench.js';
import { budget, timesAsMuch, timesFaster, type Outcome } from '../budget.js';
import { takeTurns } from '../measuring.js';
import { ourHistory, type History } from '../ours/history.js';
import { BackgroundProgram, startQemuNbd } from '../peers/background.js';
import { resticHistory } from '../peers/restic.js';
import type { ReaderJob } from '../random-reader.js';
import { readAtRandom } from '../read-at-random.js';

const ROUNDS = 3;
/** What a guest reads again and again. */
const HOT = { offset: 512 * MIB, length: 256 * MIB };
const CACHE_BYTES = GIB;
/** Too small for what is read at random to be met again. */
const COLD_CACHE_BYTES = 16 * MIB;
const DEPTH = 16;
const COUNTS = { cached: 20_000, cold: 4000, restic: 300 };

export const G14 = budget({
  id: 'G14',
  what: '4 KiB random reads over NBD',
  lines: {
    cachedP50: { what: 'in the RAM cache: p50, 1 in flight', against: 'qemu-nbd on the raw file', goal: timesFaster('ms', 0.7) },
    cachedRate: { what: 'in the RAM cache: 16 in flight', against: 'qemu-nbd on the raw file', goal: timesAsMuch('op/s', 0.7) },
    coldP50: { what: 'out of the chain: p50, 1 in flight', against: 'qemu-nbd on the raw file', goal: timesFaster('ms', 0.35) },
    coldRate: { what: 'out of the chain: 16 in flight', against: 'qemu-nbd on the raw file', goal: timesAsMuch('op/s', 0.35) },
    restic: { what: 'out of the chain: 1 in flight', against: 'restic mount', goal: timesAsMuch('op/s', 20) },
  },
  async run(bench) {
    const history = await ourHistory(bench);
    const dir = await bench.diskDir();
    const qemu = await startQemuNbd(history.currentFile, join(dir, 'qemu.sock'));
    const served = [
      await serve(history, join(dir, 'hot.sock'), CACHE_BYTES),
      await serve(history, join(dir, 'cold.sock'), COLD_CACHE_BYTES),
    ];
    try {
      await warm(join(dir, 'hot.sock'));
      const theirs = { socketPath: join(dir, 'qemu.sock'), exportName: '' };
      const hot = { socketPath: join(dir, 'hot.sock'), exportName: exportNameOf(0) };
      const cold = { socketPath: join(dir, 'cold.sock'), exportName: exportNameOf(0) };
      const everywhere = { offset: 0, length: history.chain.sizeBytes };
      const beside = async (from: ReaderJob['from'], range: typeof HOT, count: number, figure: 'p50Ms' | 'perSecond') => {
        let turn = 0;
        const side = (source: ReaderJob['from']) => async (): Promise<number> => {
          turn += 1;
          const depth = figure === 'p50Ms' ? 1 : DEPTH;
          return (await readAtRandom({ from: source, ...range, count, depth, seed: `${figure} ${turn}` }, bench.signal))[figure];
        };
        const { ours, qemu } = await takeTurns(ROUNDS, { ours: side(from), qemu: side(theirs) }, (name, round) =>
          bench.progress.step(`${name}, ${count} reads, round ${round}`),
        );
        return { ours, theirs: qemu };
      };
      return {
        cachedP50: await beside(hot, HOT, COUNTS.cached, 'p50Ms'),
        cachedRate: await beside(hot, HOT, COUNTS.cached, 'perSecond'),
        coldP50: await beside(cold, everywhere, COUNTS.cold, 'p50Ms'),
        coldRate: await beside(cold, everywhere, COUNTS.cold, 'perSecond'),
        restic: await besideRestic(bench, dir, cold, everywhere),
      };
    } finally {
      await qemu.stop();
      for (const server of served) await server.close();
    }
  },
});

async function serve({ chain }: History, socketPath: string, cacheBytes: number): Promise<DiskServer> {
  const logger = new SilentLogger();
  const point = await PointReader.open(chain.pointOptions(), { clock: new SystemClock(), logger });
  return DiskServer.listen({ point, socketPath, cache: new BlockCache(cacheBytes), clock: new SystemClock(), logger });
}

async function warm(socketPath: string): Promise<void> {
  const client = await NbdClient.connect({ socketPath, exportName: exportNameOf(0) });
  for (let done = 0; done < HOT.length; done += 4 * MIB) await client.read(HOT.offset + done, 4 * MIB);
  await client.close();
}

async function besideRestic(bench: Bench, dir: string, ours: ReaderJob['from'], range: typeof HOT): Promise<Outcome> {
  const { repository } = await resticHistory(bench);
  const mountPoint = join(dir, 'restic');
  await mkdir(mountPoint);
  const args = ['-q', '--repo', repository, '--cache-dir', `${repository}.cache`, 'mount', mountPoint];
  const isMounted = (): boolean => existsSync(join(mountPoint, 'snapshots'));
  let mount: BackgroundProgram;
  try {
    mount = await BackgroundProgram.start('restic', args, isMounted, { RESTIC_PASSWORD: 'bench' });
  } catch (error) {
    return { unmeasured: messageOf(error) };
  }
  try {
    const latest = join(mountPoint, 'snapshots', 'latest');
    const name = (await readdir(latest, { recursive: true })).find((path) => path.endsWith('disk.raw'));
    const side = (from: ReaderJob['from'], count: number) => async (): Promise<number> =>
      (await readAtRandom({ from, ...range, count, depth: 1, seed: 'restic' }, bench.signal)).perSecond;
    const sides = { ours: side(ours, COUNTS.cold), restic: side({ file: join(latest, name!) }, COUNTS.restic) };
    const rates = await takeTurns(1, sides, (who) => bench.progress.step(`${who} beside restic mount`));
    return { ours: rates.ours, theirs: rates.restic };
  } finally {
    await mount.stop();
  }
}
