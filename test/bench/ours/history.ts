import { copyFile, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { FileObjectStore } from '#libs/object-store';
import type { Bench } from '../bench.js';
import { applyDelta } from '../image/delta.js';
import { BenchChain } from './bench-chain.js';

export interface History {
  readonly chain: BenchChain;
  /** The raw disk as it is at the newest point. */
  readonly currentFile: string;
  /** What the store held after each point. */
  readonly storedBytes: readonly number[];
}

/** The image and its deltas as points of a chain in a directory, sealed as an agent does. */
export function ourHistory(bench: Bench): Promise<History> {
  return bench.once(ourHistory, async () => {
    const image = await bench.image();
    const dir = await bench.memoryDir();
    const chain = new BenchChain(await FileObjectStore.open(join(dir, 'store')), image.sizeBytes);
    const currentFile = join(dir, 'current.raw');
    await copyFile(image.path, currentFile, constants.COPYFILE_FICLONE);
    bench.progress.step('holdfast: full');
    await chain.addImage(currentFile);
    const storedBytes = [await chain.storedBytes()];
    for (const [index, delta] of image.deltas.entries()) {
      bench.progress.step(`holdfast: change ${index + 1} of ${image.deltas.length}`);
      await applyDelta(currentFile, delta);
      await chain.addImage(currentFile, delta.blocks);
      storedBytes.push(await chain.storedBytes());
    }
    return { chain, currentFile, storedBytes };
  });
}
