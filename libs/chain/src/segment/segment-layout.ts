import { RECORD_HEADER_BYTES } from '../record-header.js';
import { TAG_BYTES } from '../limits.js';

/** Header: magic, version, 6 reserved bytes, chain id. Then the records, the footer (magic and headers again), the trailer. */
export const SEGMENT_MAGIC = Buffer.from('HFSEGMNT', 'ascii');
export const SEGMENT_VERSION = 1;
export const SEGMENT_HEADER_BYTES = 32;
export const FOOTER_MAGIC = Buffer.from('HFF\u0001', 'latin1');
/** Trailer: footer offset, footer bytes (trailer included), record count, reserved, magic. */
export const TRAILER_MAGIC = Buffer.from('HFSEGEND', 'ascii');
export const TRAILER_BYTES = 24;

export const RECORD_OVERHEAD_BYTES = RECORD_HEADER_BYTES + TAG_BYTES;
export const SEGMENT_BYTES_MIN = SEGMENT_HEADER_BYTES + RECORD_OVERHEAD_BYTES + FOOTER_MAGIC.length + RECORD_HEADER_BYTES + TRAILER_BYTES;

/** A zero run has nothing but header and tag, so the footer repeats it whole: it can be opened without another read. */
export function footerEntryBytes(isZeroRun: boolean): number {
  return isZeroRun ? RECORD_OVERHEAD_BYTES : RECORD_HEADER_BYTES;
}
