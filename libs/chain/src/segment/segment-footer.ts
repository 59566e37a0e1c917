import { corrupt } from '../chain-errors.js';
import type { ListEntry } from '../manifest/list-page.js';
import { TAG_BYTES } from '../limits.js';
import { readRecordHeader, RECORD_HEADER_BYTES, recordHeaderFault, type RecordHeader } from '../record-header.js';
import {
  FOOTER_MAGIC,
  footerEntryBytes,
  RECORD_OVERHEAD_BYTES,
  SEGMENT_HEADER_BYTES,
  TRAILER_BYTES,
  TRAILER_MAGIC,
} from './segment-layout.js';
import { comparePositions, type BlockPosition } from './segment-summary.js';

export interface FooterEntry {
  readonly header: RecordHeader;
  /** Where the record begins in the segment, and its length with header and tag. */
  readonly offset: number;
  readonly bytes: number;
  /** The whole record where it is a zero run. */
  readonly zeroRun: Buffer | null;
}

/**
 * Reads the last `footerBytes` of a segment, which must be the footer of a segment like the listed one. `segment.malformed`, `segment.version-unsupported`, `segment.out-of-order`, `segment.out-of-bounds`.
 */
export function* footerEntries(
  footer: Buffer,
  listed: Pick<ListEntry, 'sizeBytes' | 'footerBytes' | 'recordCount'>,
): Generator<FooterEntry> {
  const trailerAt = footer.length - TRAILER_BYTES;
  const footerAt = listed.sizeBytes - listed.footerBytes;
  const isRight =
    trailerAt >= FOOTER_MAGIC.length &&
    footer.length === listed.footerBytes &&
    footer.subarray(0, FOOTER_MAGIC.length).equals(FOOTER_MAGIC) &&
    footer.readUInt32BE(trailerAt) === footerAt &&
    footer.readUInt32BE(trailerAt + 4) === listed.footerBytes &&
    footer.readUInt32BE(trailerAt + 8) === listed.recordCount &&
    footer.subarray(trailerAt + 16).equals(TRAILER_MAGIC);
  if (!isRight) throw malformed('the trailer does not describe the listed segment');
  let at = FOOTER_MAGIC.length;
  let offset = SEGMENT_HEADER_BYTES;
  let last: BlockPosition | null = null;
  for (let index = 0; index < listed.recordCount; index += 1) {
    if (at + RECORD_HEADER_BYTES > trailerAt) throw malformed('the footer is too short for its records');
    const fault = recordHeaderFault(footer, at);
    if (fault !== null) throw corrupt(`segment.${fault.code}`, fault.message);
    const header = readRecordHeader(footer, at);
    if (last !== null && comparePositions(last, header) >= 0) throw corrupt('segment.out-of-order', 'records do not ascend or overlap');
    last = { disk: header.disk, block: header.block + header.count - 1 };
    const isZeroRun = header.codec === 'zero-run';
    const end = at + footerEntryBytes(isZeroRun);
    if (end > trailerAt) throw malformed('the footer is too short for its records');
    const bytes = RECORD_HEADER_BYTES + header.storedBytes + TAG_BYTES;
    yield { header, offset, bytes, zeroRun: isZeroRun ? footer.subarray(at, at + RECORD_OVERHEAD_BYTES) : null };
    at = end;
    offset += bytes;
  }
  if (at !== trailerAt || offset !== footerAt) throw malformed('the footer does not add up to the segment');
}

function malformed(message: string): Error {
  return corrupt('segment.malformed', message);
}
