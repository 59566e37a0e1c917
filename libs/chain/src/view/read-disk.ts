import type { ViewDisk } from './chain-view.js';

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

/** A whole disk from its first byte to its last, with read-ahead; every byte is in exactly one piece. */
// oxlint-disable-next-line require-yield
export async function* readDisk(_disk: ViewDisk, _options: ReadDiskOptions = {}): AsyncGenerator<DiskPiece> {
  throw new Error('readDisk');
}
