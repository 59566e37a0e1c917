export type RecordCodec = 'raw' | 'zstd' | 'zero-run';

/** What a record says in the clear. */
export interface RecordHeader {
  readonly codec: RecordCodec;
  readonly disk: number;
  readonly block: number;
  /** Blocks covered: 1, or the length of a zero run. */
  readonly count: number;
  /** Grains carried, bit 0 = the first; 0xFFFF for a zero run. */
  readonly mask: number;
  readonly generation: number;
  readonly ordinal: number;
  readonly cycle: bigint;
  /** Bytes before compression: 4096 × popcount(mask); 0 for a zero run. */
  readonly plainBytes: number;
  /** Bytes between header and tag. */
  readonly storedBytes: number;
  readonly salt: Buffer;
  readonly fingerprint: Buffer;
}
