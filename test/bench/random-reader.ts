/**
 * A process of its own that reads 4 KiB pieces at random, so that whoever serves them has its processor to itself. Prints one JSON line.
 * Arguments: a JSON {@link ReaderJob}.
 */
import { open } from 'node:fs/promises';
import { NbdClient } from '#libs/nbd';
import { percentile } from './measuring.js';
import { RandomBytes } from './image/random-bytes.js';

export interface ReaderJob {
  readonly from: { readonly socketPath: string; readonly exportName: string } | { readonly file: string };
  /** Where on the disk. */
  readonly offset: number;
  readonly length: number;
  readonly count: number;
  /** Reads in flight. */
  readonly depth: number;
  /** Other reads for another seed. */
  readonly seed: string;
}

export interface ReaderResult {
  readonly p50Ms: number;
  readonly perSecond: number;
}

const PIECE_BYTES = 4096;

async function read({ from, offset, length, count, depth, seed }: ReaderJob): Promise<ReaderResult> {
  const source = 'file' in from ? await openFile(from.file) : await NbdClient.connect(from);
  const random = new RandomBytes(seed);
  const timesMs: number[] = [];
  let left = count;
  const startedMs = performance.now();
  const reader = async (): Promise<void> => {
    const target = Buffer.alloc(PIECE_BYTES);
    for (; left > 0;) {
      left -= 1;
      const at = offset + random.below(length / PIECE_BYTES) * PIECE_BYTES;
      const beganMs = performance.now();
      await source.readInto(at, target);
      timesMs.push(performance.now() - beganMs);
    }
  };
  await Promise.all(Array.from({ length: depth }, reader));
  const seconds = (performance.now() - startedMs) / 1000;
  await source.close();
  return { p50Ms: percentile(timesMs, 50), perSecond: count / seconds };
}

async function openFile(path: string) {
  const file = await open(path, 'r');
  return {
    readInto: async (offset: number, target: Uint8Array): Promise<void> => void (await file.read(target, 0, target.length, offset)),
    close: () => file.close(),
  };
}

process.stdout.write(`${JSON.stringify(await read(JSON.parse(process.argv[2]!) as ReaderJob))}\n`);
