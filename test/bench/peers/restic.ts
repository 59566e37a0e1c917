import { copyFile, cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bench } from '../bench.js';
import { bytesBelow } from '../bytes-below.js';
import { applyDelta } from '../image/delta.js';
import { runProgram } from '../run-program.js';

export interface ResticHistory {
  /** Nobody writes to it. */
  readonly repository: string;
  readonly storedBytes: readonly number[];
}

const IMAGE_NAME = 'disk.raw';

/** A repository of restic: full image and every delta as a snapshot. Made once and kept, since only what follows is timed. */
export function resticHistory(bench: Bench): Promise<ResticHistory> {
  return bench.once(resticHistory, async () => {
    const image = await bench.image();
    const dir = join(bench.cacheDir, 'restic');
    const repository = join(dir, 'repository');
    const list = join(dir, 'stored.json');
    const known = await readFile(list, 'utf8').catch(() => null);
    if (known !== null) return { repository, storedBytes: JSON.parse(known) as number[] };
    await rm(dir, { recursive: true, force: true });
    await mkdir(dir, { recursive: true });
    const restic = new Restic(repository);
    await restic.run(['init'], bench.signal);
    const copy = join(dir, IMAGE_NAME);
    bench.progress.step('restic: full');
    await copyFile(image.path, copy);
    await restic.backup(dir, bench.signal);
    const storedBytes = [await bytesBelow(repository)];
    for (const [index, delta] of image.deltas.entries()) {
      bench.progress.step(`restic: change ${index + 1} of ${image.deltas.length}`);
      await applyDelta(copy, delta);
      await restic.backup(dir, bench.signal);
      storedBytes.push(await bytesBelow(repository));
    }
    await rm(copy);
    await writeFile(`${list}.new`, JSON.stringify(storedBytes));
    await rename(`${list}.new`, list);
    return { repository, storedBytes };
  });
}

/** By this path a snapshot knows the image. */
export function imageInRestic({ cacheDir }: Bench): string {
  return join(cacheDir, 'restic', IMAGE_NAME);
}

/** One repository. Its cache of what the repository holds is its own, too. */
export class Restic {
  constructor(readonly repository: string) {}

  run(args: readonly string[], signal: AbortSignal, stdoutFile?: string): Promise<void> {
    const common = ['-q', '--repo', this.repository, '--cache-dir', `${this.repository}.cache`];
    return runProgram('restic', [...common, ...args], {
      env: { RESTIC_PASSWORD: 'bench' },
      signal,
      ...(stdoutFile === undefined ? {} : { stdoutFile }),
    });
  }

  /** Backs up the image in `dir`. */
  backup(dir: string, signal: AbortSignal): Promise<void> {
    return this.run(['backup', '--force', join(dir, IMAGE_NAME)], signal);
  }

  /** The same repository again, for somebody who changes it. restic never writes into a file that is there. */
  async copyTo(repository: string): Promise<Restic> {
    await cp(this.repository, repository, { recursive: true });
    await cp(`${this.repository}.cache`, `${repository}.cache`, { recursive: true });
    return new Restic(repository);
  }
}
