import { BLOCK_BYTES, GRAIN_BYTES, GRAINS_PER_BLOCK } from '#libs/chain';
import { assert } from '#libs/kernel';
import type { SourceDisk } from '../source/vm-source.js';
import type { Piece } from './block-plan.js';
import { bytesToRead } from './stripes.js';

export interface Batch {
  readonly pieces: readonly Piece[];
  /** The bytes of the data pieces, one after the other. */
  readonly data: Uint8Array;
}

interface Run {
  readonly disk: SourceDisk;
  readonly offset: number;
  length: number;
  /** Where it goes in the batch. */
  readonly at: number;
}

export const BATCH_BYTES = 2 * 1024 * 1024;
const READ_BYTES_MAX = 1024 * 1024;
const READS_IN_FLIGHT = 8;

/** Cuts the pieces of a stripe into batches of at most 2 MiB to read. */
export function* cutBatches(pieces: readonly Piece[]): Generator<readonly Piece[]> {
  let batch: Piece[] = [];
  let dataBytes = 0;
  for (const piece of pieces) {
    if (dataBytes + bytesToRead(piece) > BATCH_BYTES) {
      yield batch;
      batch = [];
      dataBytes = 0;
    }
    batch.push(piece);
    dataBytes += bytesToRead(piece);
  }
  yield batch;
}

/** Reads a batch into `buffer`: neighbouring grains in one go, several reads at once. What lies past the end of a disk is zero. */
export async function readBatch(pieces: readonly Piece[], disks: ReadonlyMap<number, SourceDisk>, buffer: ArrayBuffer): Promise<Batch> {
  const runs: Run[] = [];
  let size = 0;
  for (const piece of pieces) {
    if (piece.kind === 'zero') continue;
    const disk = disks.get(piece.disk);
    assert(disk !== undefined, 'a plan names disks of its read');
    for (const { first, count } of maskRuns(piece.mask)) {
      addRun(runs, { disk, offset: piece.block * BLOCK_BYTES + first * GRAIN_BYTES, length: count * GRAIN_BYTES, at: size });
      size += count * GRAIN_BYTES;
    }
  }
  const data = new Uint8Array(buffer, 0, size);
  const queue = runs.values();
  await Promise.all(Array.from({ length: READS_IN_FLIGHT }, () => readRuns(queue, data)));
  return { pieces, data };
}

async function readRuns(queue: Iterator<Run> & Iterable<Run>, data: Uint8Array): Promise<void> {
  for (const { disk, offset, length, at } of queue) {
    const present = Math.max(0, Math.min(length, disk.sizeBytes - offset));
    if (present > 0) await disk.readInto(offset, data.subarray(at, at + present));
    // The buffer has had another life.
    data.fill(0, at + present, at + length);
  }
}

function addRun(runs: Run[], run: Run): void {
  const last = runs.at(-1);
  const joins = last?.disk === run.disk && last.offset + last.length === run.offset && last.length + run.length <= READ_BYTES_MAX;
  if (joins) last.length += run.length;
  else runs.push(run);
}

/** The neighbouring grains of a mask. */
export function maskRuns(mask: number): { first: number; count: number }[] {
  const runs: { first: number; count: number }[] = [];
  for (let grain = 0; grain < GRAINS_PER_BLOCK; grain += 1) {
    if ((mask & (1 << grain)) === 0) continue;
    const last = runs.at(-1);
    if (last !== undefined && last.first + last.count === grain) last.count += 1;
    else runs.push({ first: grain, count: 1 });
  }
  return runs;
}
