import type { ChainId } from '#libs/kernel';
import type { SegmentSummary } from './segment-summary.js';

export interface SegmentBuilderOptions {
  readonly chainId: ChainId;
  readonly cycle: bigint;
  readonly generation: number;
  /** 32 bytes. */
  readonly dataKey: Uint8Array;
  /** 32 bytes. */
  readonly fingerprintKey: Uint8Array;
  /** The size at which the builder calls itself full: 64 KiB … 15.9 MiB; 8 MiB unless told. The segment ends at most one block above. */
  readonly targetBytes?: number;
}

export interface BuiltSegment extends SegmentSummary {
  /** Alone in its ArrayBuffer, so it can be transferred to another thread. */
  readonly bytes: Buffer;
}

/**
 * Seals blocks into one segment: one use, one thread, no I/O. Feed it ascending by (disk, block) and ask {@link isFull} before each block.
 * A builder draws its own random salt and spends an ordinal before each encryption, so nothing that is lost or repeated can use a nonce twice.
 */
export class SegmentBuilder {
  constructor(_options: SegmentBuilderOptions) {
    throw new Error('SegmentBuilder');
  }

  get isFull(): boolean {
    return false;
  }

  get isEmpty(): boolean {
    return true;
  }

  /**
   * Seals the grains of one block that `mask` names (bit 0 = the first grain). `plaintext` holds exactly these grains, in order:
   * 4096 × popcount(mask) bytes. It is read before the call returns and not kept.
   */
  add(_disk: number, _block: number, _mask: number, _plaintext: Uint8Array): void {}

  /** Says that `count` whole blocks from `block` on are zero. */
  addZeroRun(_disk: number, _block: number, _count: number): void {}

  /** Ends the segment. Needs at least one record. */
  finish(): BuiltSegment {
    throw new Error('finish');
  }
}
