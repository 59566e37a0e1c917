import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { rawImage, saveImage } from '#libs/vhd';
import type { Bench } from '../bench.js';
import { budget, timesFaster } from '../budget.js';
import { secondsOf, takeTurns } from '../measuring.js';
import { ourHistory } from '../ours/history.js';
import { imageInRestic, Restic, resticHistory } from '../peers/restic.js';
import { runProgram } from '../run-program.js';

const ROUNDS = 3;
/** restic takes so much longer that its pace matters less. */
const RESTIC_ROUNDS = 1;

export const G15 = budget({
  id: 'G15',
  what: 'restore of the newest of 6 points to a raw file',
  lines: {
    zstd: { against: 'zstd -d of the raw disk', goal: timesFaster('s', 1.1) },
    dump: { against: 'restic dump', goal: timesFaster('s', 2.5) },
    restore: { against: 'restic restore', goal: timesFaster('s', 2.5) },
  },
  async run(bench) {
    const { chain, currentFile } = await ourHistory(bench);
    const { repository } = await resticHistory(bench);
    const dir = await bench.memoryDir();
    const target = join(dir, 'restored.raw');
    const compressed = join(dir, 'disk.zst');
    bench.progress.step('zstd: compressing');
    await runProgram('zstd', ['-q', '-1', '-T2', currentFile, '-o', compressed], bench);

    const toTarget = (work: () => Promise<unknown>) => async (): Promise<number> => {
      await rm(target, { recursive: true, force: true });
      return secondsOf(work);
    };
    const ours = toTarget(async () => {
      const view = await chain.open(availableParallelism());
      await saveImage(rawImage(view.disk(0)), target);
      view.close();
    });
    const zstd = toTarget(() => runProgram('zstd', ['-q', '-d', compressed, '-o', target], bench));
    const restic = new Restic(repository);
    const dump = toTarget(() => restic.run(['dump', 'latest', imageInRestic(bench)], bench.signal, target));
    const restore = toTarget(() => restic.run(['restore', 'latest', '--target', target], bench.signal));
    const onTurn = (name: string, round: number): void => bench.progress.step(`${name}, round ${round}`);
    const times = await takeTurns(ROUNDS, { ours, zstd }, onTurn);
    const withRestic = await takeTurns(RESTIC_ROUNDS, { dump, restore, ours }, onTurn);
    await verify(bench, currentFile, target);
    return {
      zstd: { ours: times.ours, theirs: times.zstd },
      dump: { ours: withRestic.ours, theirs: withRestic.dump },
      restore: { ours: withRestic.ours, theirs: withRestic.restore },
    };
  },
});

/** Speed counts only where every byte is right. */
async function verify(bench: Bench, expected: string, actual: string): Promise<void> {
  bench.progress.step('comparing');
  await runProgram('cmp', [expected, actual], bench);
}
