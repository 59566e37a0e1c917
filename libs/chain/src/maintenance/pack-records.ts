import { assert, idToBytes, type ChainId } from '#libs/kernel';
import { SEGMENT_RECORDS_MAX } from '../limits.js';
import type { ListEntry } from '../manifest/list-page.js';
import {
  FOOTER_MAGIC,
  footerEntryBytes,
  SEGMENT_HEADER_BYTES,
  SEGMENT_MAGIC,
  SEGMENT_VERSION,
  TRAILER_BYTES,
  TRAILER_MAGIC,
} from '../segment/segment-layout.js';
import { inspectSegment } from '../segment/segment-inspector.js';
import { comparePositions } from '../segment/segment-summary.js';

/** A sealed record on its way from one segment to another: not a byte of it changes. */
export interface SealedRecord {
  readonly disk: number;
  readonly block: number;
  readonly cycle: bigint;
  readonly isZeroRun: boolean;
  /** Header, payload, tag. */
  readonly bytes: Buffer;
}

export interface PackedSegment<R extends SealedRecord> {
  readonly entry: ListEntry;
  readonly bytes: Buffer;
  /** Its records in order, and where each begins. */
  readonly records: readonly { readonly record: R; readonly offset: number }[];
}

/** The order of records in a segment of many cycles. */
export function compareRecords(a: SealedRecord, b: SealedRecord): number {
  return comparePositions(a, b) || (a.cycle > b.cycle ? -1 : a.cycle < b.cycle ? 1 : 0);
}

/** Packs sealed records, already in order, into segments of about `targetBytes`. What it gives has passed the check of a receiver. */
export function* packRecords<R extends SealedRecord>(
  chainId: ChainId,
  records: readonly R[],
  targetBytes: number,
): Generator<PackedSegment<R>> {
  let taken: R[] = [];
  let bytes = 0;
  for (const record of records) {
    const recordBytes = record.bytes.length + footerEntryBytes(record.isZeroRun);
    if (taken.length > 0 && (bytes + recordBytes > targetBytes || taken.length === SEGMENT_RECORDS_MAX)) {
      yield packOne(chainId, taken);
      [taken, bytes] = [[], 0];
    }
    taken.push(record);
    bytes += recordBytes;
  }
  if (taken.length > 0) yield packOne(chainId, taken);
}

function packOne<R extends SealedRecord>(chainId: ChainId, records: readonly R[]): PackedSegment<R> {
  const header = Buffer.alloc(SEGMENT_HEADER_BYTES);
  SEGMENT_MAGIC.copy(header);
  header.writeUInt16BE(SEGMENT_VERSION, 8);
  idToBytes(chainId).copy(header, 16);
  const placed: { record: R; offset: number }[] = [];
  let end = header.length;
  for (const record of records) {
    placed.push({ record, offset: end });
    end += record.bytes.length;
  }
  const footer = [FOOTER_MAGIC, ...records.map(({ bytes, isZeroRun }) => bytes.subarray(0, footerEntryBytes(isZeroRun)))];
  const footerBytes = footer.reduce((sum, { length }) => sum + length, TRAILER_BYTES);
  const trailer = Buffer.alloc(TRAILER_BYTES);
  trailer.writeUInt32BE(end, 0);
  trailer.writeUInt32BE(footerBytes, 4);
  trailer.writeUInt32BE(records.length, 8);
  TRAILER_MAGIC.copy(trailer, 16);
  const bytes = Buffer.concat([header, ...records.map((record) => record.bytes), ...footer, trailer], end + footerBytes);
  const { generations: _generations, cycles: _cycles, ...entry } = inspectSegment(bytes, { chainId });
  assert(entry.recordCount === records.length, 'every record is packed');
  return { entry, bytes, records: placed };
}
