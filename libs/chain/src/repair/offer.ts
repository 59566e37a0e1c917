import { CodedError, type ChainId } from '#libs/kernel';
import type { RecordHeader } from '../record-header.js';
import { SegmentFooter } from '../segment/segment-footer.js';
import { inspectSegment } from '../segment/segment-inspector.js';
import type { SegmentSummary } from '../segment/segment-summary.js';
import { isSameContent, keyOf, recordsByName } from './same-record.js';

/** The most that one offer holds. */
export const OFFER_BYTES_MAX = 4 * 1024 * 1024;

export interface Offer {
  readonly summary: SegmentSummary;
  /** Which of the original's records it holds, in its order. */
  readonly indexes: readonly number[];
}

/**
 * What a receiver can tell of records that a writer offers in the place of damaged ones, in a segment of their own: that each is one that is wanted, and
 * says of itself that it holds the same. Whether it does, only a key holder can tell. Errors: `repair.not-wanted`, and the inspector's.
 */
export function checkOffer(
  bytes: Buffer,
  { chainId, sha256, original, wanted }: { chainId: ChainId; sha256: string; original: SegmentFooter; wanted: ReadonlySet<number> },
): Offer {
  const summary = inspectSegment(bytes, { chainId, sha256 });
  const footer = SegmentFooter.read(bytes.subarray(summary.sizeBytes - summary.footerBytes), summary);
  const byName = recordsByName(original);
  const indexes: number[] = [];
  for (let at = 0; at < footer.count; at += 1) {
    const { header } = footer.entry(at);
    const index = byName.get(keyOf(header));
    if (index === undefined || !wanted.has(index) || !isSameContent(header, original.entry(index).header)) throw notWanted(header);
    indexes.push(index);
  }
  return { summary, indexes };
}

function notWanted({ disk, block, cycle }: RecordHeader): CodedError {
  return new CodedError('repair.not-wanted', 'invalid', 'a record is offered in the place of none that is damaged and wanted', {
    disk,
    block,
    cycle: cycle.toString(),
  });
}
