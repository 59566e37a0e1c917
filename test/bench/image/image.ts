import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BLOCK_BYTES } from '#libs/chain';
import { GIB, MIB } from '#libs/kernel';
import type { Bench } from '../bench.js';
import { runProgram } from '../run-program.js';
import { type Delta, makeDelta } from './delta.js';
import { copyMachineFiles } from './machine-files.js';
import { writeHeap, writeLog, writeNoise } from './made-files.js';

export interface BenchImage {
  /** A raw ext4 file system. Nobody writes to it: who needs another state makes a copy. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Each applies on top of the one before. */
  readonly deltas: readonly Delta[];
}

const SIZE_BYTES = 3 * GIB;
const DELTAS = 5;
/** 1 % of all blocks, anywhere: the worst case for whoever keeps large ones. */
const DELTA_BLOCKS = Math.round(SIZE_BYTES / BLOCK_BYTES / 100);
const PROGRAMS = ['/usr/bin', '/usr/sbin', '/usr/libexec', '/usr/lib'];
const TEXTS = ['/usr/include', '/usr/share'];
const [PROGRAM_BYTES, TEXT_BYTES] = [1200, 250].map((megabytes) => megabytes * 1e6) as [number, number];
const [HEAP_BYTES, LOG_BYTES, NOISE_BYTES] = [500 * 1e6, 250 * 1e6, 320 * MIB];
/** Changes with what the image is made of. */
const VERSION = 1;
/** What a file system would choose anew each time. */
const [UUID, SEED, MADE_AT] = ['4d0c4a3e-52f1-4f0a-9d53-6b0b6a3c7e11', '9be0a3c4-1d52-4c59-8a7e-2f6a1f0e5d22', '1767225600'];

/** The image and its deltas, from the cache when a former run made them. */
export async function prepareImage({ cacheDir, progress }: Bench): Promise<BenchImage> {
  const dir = join(cacheDir, `image-${VERSION}`);
  const path = join(dir, 'disk.raw');
  // Written last: where it is, all is.
  const list = join(dir, 'deltas.json');
  const known = await readFile(list, 'utf8').catch(() => null);
  if (known !== null) return imageOf(dir, JSON.parse(known) as number[][]);
  await rm(dir, { recursive: true, force: true });
  const tree = join(dir, 'tree');
  await mkdir(tree, { recursive: true });
  progress.step('making the image: files');
  await fillTree(tree);
  progress.step('making the image: file system');
  await runProgram(
    'mke2fs',
    ['-q', '-t', 'ext4', '-U', UUID, '-E', `hash_seed=${SEED},root_owner=0:0`, '-d', tree, path, `${SIZE_BYTES / MIB}M`],
    {
      env: { E2FSPROGS_FAKE_TIME: MADE_AT, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
    },
  );
  await rm(tree, { recursive: true });
  const deltas: number[][] = [];
  for (let number = 1; number <= DELTAS; number += 1) {
    progress.step(`making the image: change ${number} of ${DELTAS}`);
    deltas.push(await makeDelta(path, SIZE_BYTES, DELTA_BLOCKS, deltaFile(dir, number)));
  }
  await writeFile(`${list}.new`, JSON.stringify(deltas));
  await rename(`${list}.new`, list);
  return imageOf(dir, deltas);
}

function imageOf(dir: string, deltas: readonly (readonly number[])[]): BenchImage {
  return {
    path: join(dir, 'disk.raw'),
    sizeBytes: SIZE_BYTES,
    deltas: deltas.map((blocks, index) => ({ blocks, contentFile: deltaFile(dir, index + 1) })),
  };
}

function deltaFile(dir: string, number: number): string {
  return join(dir, `delta-${number}`);
}

async function fillTree(tree: string): Promise<void> {
  await copyMachineFiles(PROGRAMS, tree, PROGRAM_BYTES);
  await copyMachineFiles(TEXTS, tree, TEXT_BYTES);
  await mkdir(join(tree, 'var'));
  await writeHeap(join(tree, 'var', 'heap'), HEAP_BYTES);
  await writeLog(join(tree, 'var', 'log'), LOG_BYTES);
  await writeNoise(join(tree, 'var', 'noise'), NOISE_BYTES);
}
