import { MIB } from '#libs/kernel';

/** What is read and written at once. */
export const PIECE_BYTES = MIB;
/** Pieces that are read while the one before them is written. */
export const READS_AHEAD = 4;

/**
 * Memory that goes round from piece to piece, for a consumer that is done with one before it asks for the next: fresh memory for each would cost a fault for
 * every page of it. Shared, so that threads of the source may fill it.
 */
export class PieceMemory {
  readonly #buffers: Buffer[] = [];
  #next = 0;

  /** As many as are read ahead are in use at a time, in the order in which they are taken. */
  take(length: number): Uint8Array {
    const buffer = (this.#buffers[this.#next] ??= Buffer.from(new SharedArrayBuffer(PIECE_BYTES)));
    this.#next = (this.#next + 1) % (READS_AHEAD + 1);
    return buffer.subarray(0, length);
  }
}
