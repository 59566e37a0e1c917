import { idToBytes, assert, bytesToId, type ChainId } from '#libs/kernel';
import { corrupt } from '../chain-errors.js';
import { BLOCKS_PER_DISK_MAX, LIST_ENTRIES_MAX, SEGMENT_BYTES_MAX, SEGMENT_RECORDS_MAX } from '../limits.js';
import { asBuffer } from '../as-buffer.js';
import { SEGMENT_BYTES_MIN } from '../segment/segment-layout.js';
import { comparePositions, type SegmentSummary } from '../segment/segment-summary.js';
import { sha256Hex } from '../sha256.js';

/** One segment in a manifest's list. */
export type ListEntry = Pick<
  SegmentSummary,
  'sha256' | 'sizeBytes' | 'footerBytes' | 'footerSha256' | 'recordCount' | 'plainBytes' | 'first' | 'last'
>;

export interface ListPage {
  readonly chainId: ChainId;
  readonly cycle: bigint;
  /** 1 … 4096, ascending and disjoint by (disk, block). */
  readonly entries: readonly ListEntry[];
}

const SHA256_HEX = /^[0-9a-f]{64}$/;
const MAGIC = Buffer.from('HFL', 'ascii');
const VERSION = 1;
const HEADER_BYTES = 32;
const ENTRY_BYTES = 96;
export const LIST_PAGE_BYTES_MAX = HEADER_BYTES + LIST_ENTRIES_MAX * ENTRY_BYTES;

/** Deterministic: the same page gives the same bytes, named by their SHA-256. */
export function encodeListPage(page: ListPage): { bytes: Buffer; sha256: string } {
  const bytes = Buffer.alloc(HEADER_BYTES + page.entries.length * ENTRY_BYTES);
  MAGIC.copy(bytes);
  bytes[3] = VERSION;
  bytes.writeUInt32BE(page.entries.length, 4);
  bytes.writeBigUInt64BE(page.cycle, 8);
  idToBytes(page.chainId).copy(bytes, 16);
  page.entries.forEach((entry, index) => writeEntry(entry, bytes, HEADER_BYTES + index * ENTRY_BYTES));
  decodeListPage(bytes, page);
  return { bytes, sha256: sha256Hex(bytes) };
}

/** Needs no key. `list.malformed`, `list.version-unsupported`, `list.too-large`, `list.out-of-order`, `list.foreign-chain`. */
export function decodeListPage(page: Uint8Array, expected: { readonly chainId: ChainId }): ListPage {
  const bytes = asBuffer(page);
  if (bytes.length < HEADER_BYTES || !bytes.subarray(0, 3).equals(MAGIC)) throw malformed('a list page begins with HFL');
  if (bytes[3] !== VERSION) throw corrupt('list.version-unsupported', `list version ${bytes[3]} is not known`);
  const count = bytes.readUInt32BE(4);
  if (count > LIST_ENTRIES_MAX) throw corrupt('list.too-large', 'a list page has at most 4096 entries');
  if (count === 0 || bytes.length !== HEADER_BYTES + count * ENTRY_BYTES) throw malformed('a list page is not as long as it says');
  const chainId = bytesToId<ChainId>(bytes.subarray(16, 32));
  if (chainId !== expected.chainId) throw corrupt('list.foreign-chain', 'the list page is of another chain');
  const entries: ListEntry[] = [];
  for (let index = 0; index < count; index += 1) {
    const entry = readEntry(bytes, HEADER_BYTES + index * ENTRY_BYTES);
    const before = entries.at(-1);
    if (before !== undefined && comparePositions(before.last, entry.first) >= 0) {
      throw corrupt('list.out-of-order', 'segments of a list ascend and do not overlap', { ...entry.first });
    }
    entries.push(entry);
  }
  return { chainId, cycle: bytes.readBigUInt64BE(8), entries };
}

/** Packs a cycle's segments, in any order, into as few pages as they need. */
export function paginate(chainId: ChainId, cycle: bigint, entries: readonly ListEntry[]): ListPage[] {
  const ascending = [...entries].sort((a, b) => comparePositions(a.first, b.first));
  const pages: ListPage[] = [];
  for (let from = 0; from < ascending.length; from += LIST_ENTRIES_MAX) {
    pages.push({ chainId, cycle, entries: ascending.slice(from, from + LIST_ENTRIES_MAX) });
  }
  return pages;
}

function writeEntry(entry: ListEntry, bytes: Buffer, at: number): void {
  for (const [index, sha256] of [entry.sha256, entry.footerSha256].entries()) {
    assert(SHA256_HEX.test(sha256), 'a SHA-256 is 64 lower-case hex digits');
    bytes.write(sha256, at + index * 32, 'hex');
  }
  bytes.writeUInt32BE(entry.sizeBytes, at + 64);
  bytes.writeUInt32BE(entry.footerBytes, at + 68);
  bytes.writeUInt32BE(entry.recordCount, at + 72);
  bytes.writeBigUInt64BE(BigInt(entry.plainBytes), at + 76);
  bytes.writeUInt16BE(entry.first.disk, at + 84);
  bytes.writeUInt16BE(entry.last.disk, at + 86);
  bytes.writeUInt32BE(entry.first.block, at + 88);
  bytes.writeUInt32BE(entry.last.block, at + 92);
}

function readEntry(bytes: Buffer, at: number): ListEntry {
  const plainBytes = bytes.readBigUInt64BE(at + 76);
  const entry = {
    sha256: bytes.toString('hex', at, at + 32),
    footerSha256: bytes.toString('hex', at + 32, at + 64),
    sizeBytes: bytes.readUInt32BE(at + 64),
    footerBytes: bytes.readUInt32BE(at + 68),
    recordCount: bytes.readUInt32BE(at + 72),
    plainBytes: Number(plainBytes),
    first: { disk: bytes.readUInt16BE(at + 84), block: bytes.readUInt32BE(at + 88) },
    last: { disk: bytes.readUInt16BE(at + 86), block: bytes.readUInt32BE(at + 92) },
  };
  const isRight =
    entry.sizeBytes >= SEGMENT_BYTES_MIN &&
    entry.sizeBytes <= SEGMENT_BYTES_MAX &&
    entry.footerBytes < entry.sizeBytes &&
    entry.recordCount >= 1 &&
    entry.recordCount <= SEGMENT_RECORDS_MAX &&
    plainBytes <= BigInt(Number.MAX_SAFE_INTEGER) &&
    entry.first.block < BLOCKS_PER_DISK_MAX &&
    entry.last.block < BLOCKS_PER_DISK_MAX &&
    comparePositions(entry.first, entry.last) <= 0;
  if (!isRight) throw malformed('an entry of a list page is out of bounds');
  return entry;
}

function malformed(message: string): Error {
  return corrupt('list.malformed', message);
}
