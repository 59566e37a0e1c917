/** A place in a chain. Places are ordered by disk, then block. */
export interface BlockPosition {
  readonly disk: number;
  readonly block: number;
}

/** What a segment holds, as its own bytes tell. */
export interface SegmentSummary {
  /** Lower-case hex of all its bytes; its name. */
  readonly sha256: string;
  readonly sizeBytes: number;
  /** The footer with its trailer: the end of the segment, and the SHA-256 (hex) by which a reader knows it without the rest. */
  readonly footerBytes: number;
  readonly footerSha256: string;
  readonly recordCount: number;
  /** Bytes of blocks before compression; zero runs count nothing. */
  readonly plainBytes: number;
  readonly first: BlockPosition;
  /** The last block covered: that of a zero run's end. */
  readonly last: BlockPosition;
  /** The key generations and cycles of its records, ascending. */
  readonly generations: readonly number[];
  readonly cycles: readonly bigint[];
}

export function comparePositions(a: BlockPosition, b: BlockPosition): number {
  return a.disk - b.disk || a.block - b.block;
}
