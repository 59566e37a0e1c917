import { assert, MIB } from '#libs/kernel';
import { BLOCK_BYTES } from '../limits.js';
import type { ViewDisk } from './chain-view.js';
import { readAhead } from './read-ahead.js';

/** A piece of a disk in order: bytes, or a stretch of zeros without any. */
export type DiskPiece =
  | { readonly offset: number; readonly length: number; readonly zero: false; readonly data: Buffer }
  | { readonly offset: number; readonly length: number; readonly zero: true };

export interface ReadDiskOptions {
  /** Bytes a piece at most; 4 MiB unless told. A multiple of 64 KiB. */
  readonly pieceBytes?: number;
  /** Pieces fetched ahead; 4 unless told. Memory is `pieceBytes` × (`aheadCount` + 1). */
  readonly aheadCount?: number;
  readonly signal?: AbortSignal;
}

/** The largest stretch that is looked up at once: bounds the memory that a scattered disk's extents take. */
const LOOKUP_BYTES = 1024 * MIB;

/** A whole disk from its first byte to its last, with read-ahead; every byte is in exactly one piece. */
export async function* readDisk(disk: ViewDisk, options: ReadDiskOptions = {}): AsyncGenerator<DiskPiece> {
  const { pieceBytes = 4 * MIB, aheadCount = 4, signal } = options;
  assert(pieceBytes > 0 && pieceBytes % BLOCK_BYTES === 0, 'a piece is a multiple of 64 KiB');
  const fetch = async (stretch: Stretch): Promise<DiskPiece> =>
    stretch.zero
      ? { offset: stretch.offset, length: stretch.length, zero: true }
      : { offset: stretch.offset, length: stretch.length, zero: false, data: await disk.read(stretch.offset, stretch.length, signal) };
  yield* readAhead(stretchesOf(disk, pieceBytes), aheadCount, fetch);
}

interface Stretch {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
}

/** Cuts a disk into zeros (known or never written) and pieces that hold data; these are whole blocks. */
async function* stretchesOf(disk: ViewDisk, pieceBytes: number): AsyncGenerator<Stretch> {
  let at = 0;
  for (let from = 0; from < disk.sizeBytes; from += LOOKUP_BYTES) {
    const extents = await disk.extents(from, Math.min(LOOKUP_BYTES, disk.sizeBytes - from));
    for (const extent of extents.filter(({ zero }) => !zero)) {
      const start = Math.floor(extent.offset / BLOCK_BYTES) * BLOCK_BYTES;
      if (start > at) yield { offset: at, length: start - at, zero: true };
      at = Math.max(at, start);
      const end = Math.min(Math.ceil((extent.offset + extent.length) / BLOCK_BYTES) * BLOCK_BYTES, disk.sizeBytes);
      while (at < end) {
        const length = Math.min(pieceBytes, end - at);
        yield { offset: at, length, zero: false };
        at += length;
      }
    }
  }
  if (at < disk.sizeBytes) yield { offset: at, length: disk.sizeBytes - at, zero: true };
}
