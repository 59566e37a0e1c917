import type { ChainId } from '#libs/kernel';
import type { SegmentSummary } from './segment-summary.js';

export interface SegmentExpectation {
  readonly chainId: ChainId;
  /** The size announced beforehand. */
  readonly sizeBytes: number;
  /** The name it was sent under. */
  readonly sha256?: string;
  /** The only cycle its records may have; absent for a compacted segment. */
  readonly cycle?: bigint;
  /** The key generations its records may have. */
  readonly generations?: ReadonlySet<number>;
}

/**
 * The structure check a receiver makes, without any key, in constant memory, while the bytes stream by. It proves that the segment is whole,
 * is what it is called, belongs to this chain and cycle, and that its footer tells what its records are; never what they contain.
 *
 * `segment.truncated`, `segment.too-large`, `segment.hash-mismatch`, `segment.malformed`, `segment.version-unsupported`,
 * `segment.foreign-chain`, `segment.wrong-cycle`, `segment.wrong-generation`, `segment.out-of-order`, `segment.out-of-bounds`,
 * `segment.footer-mismatch`.
 */
export class SegmentInspector {
  constructor(_expected: SegmentExpectation) {}

  push(_chunk: Uint8Array): void {}

  finish(): SegmentSummary {
    throw new Error('finish');
  }
}

/** Checks a segment that is in memory as a whole. */
export function inspectSegment(bytes: Uint8Array, expected: Omit<SegmentExpectation, 'sizeBytes'>): SegmentSummary {
  const inspector = new SegmentInspector({ ...expected, sizeBytes: bytes.length });
  inspector.push(bytes);
  return inspector.finish();
}
