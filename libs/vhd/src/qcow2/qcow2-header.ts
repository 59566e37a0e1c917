import type { BoundedSource } from '../source/bounded-source.js';
import { displayText } from '../source/display-text.js';
import {
  CLUSTER_BITS_MAX,
  CLUSTER_BITS_MIN,
  clustersPerTable,
  EXTENSIONS,
  INCOMPATIBLE,
  L1_BYTES_MAX,
  MAGIC,
  QCOW2_DISK_SIZE_MAX_BYTES,
  qcow2Error,
  SECTOR_BYTES,
  type Compression,
  type Qcow2Header,
} from './qcow2-layout.js';

const HEADER_V2_BYTES = 72;
const HEADER_V3_BYTES = 104;
const HEADER_BYTES_MAX = 4096;
const NAME_BYTES_MAX = 1023;
const EXTENSIONS_MAX = 64;
const FORMAT_NAME_BYTES_MAX = 15;
const COMPRESSIONS: readonly (Compression | undefined)[] = ['zlib', 'zstd'];

/**
 * Throws `qcow2.signature-missing`, `qcow2.truncated`, `qcow2.header-broken`, `qcow2.size-invalid`, `qcow2.unsupported`, `qcow2.encrypted`,
 * `qcow2.external-data`, `qcow2.marked-corrupt`.
 */
export async function readQcow2Header(file: BoundedSource): Promise<Qcow2Header> {
  const bytes = await file.read(0, Math.min(HEADER_BYTES_MAX, file.sizeBytes));
  if (!bytes.subarray(0, 4).equals(MAGIC)) throw qcow2Error('signature-missing', 'this is no qcow2');
  if (bytes.byteLength < HEADER_V2_BYTES) throw file.truncated();
  const version = bytes.readUInt32BE(4);
  if (version !== 2 && version !== 3) throw qcow2Error('unsupported', 'this qcow2 is of a version that is not known', { version });
  if (version === 3 && bytes.byteLength < HEADER_V3_BYTES) throw file.truncated();
  const headerBytes = version === 2 ? HEADER_V2_BYTES : bytes.readUInt32BE(100);
  if (headerBytes < (version === 2 ? HEADER_V2_BYTES : HEADER_V3_BYTES) || headerBytes % 8 !== 0 || headerBytes > bytes.byteLength) {
    throw qcow2Error('header-broken', 'the header of the qcow2 is of no possible length', { headerBytes });
  }
  const incompatible = version === 2 ? 0n : bytes.readBigUInt64BE(72);
  assertFeatures(incompatible, bytes.readUInt32BE(32));

  const clusterBits = bytes.readUInt32BE(20);
  if (clusterBits < CLUSTER_BITS_MIN || clusterBits > CLUSTER_BITS_MAX) {
    throw qcow2Error('header-broken', 'the clusters of the qcow2 are of no possible size', { clusterBits });
  }
  const clusterBytes = 2 ** clusterBits;
  const sizeBytes = Number(bytes.readBigUInt64BE(24));
  if (sizeBytes === 0 || sizeBytes > QCOW2_DISK_SIZE_MAX_BYTES || sizeBytes % SECTOR_BYTES !== 0) {
    throw qcow2Error('size-invalid', 'the size of the qcow2 is not a number of sectors up to 64 TiB');
  }
  return {
    version,
    sizeBytes,
    clusterBytes,
    l1: l1Of(bytes, file, sizeBytes, clusterBytes),
    refcountTable: placeOf(file, bytes.readBigUInt64BE(48), bytes.readUInt32BE(56) * clusterBytes, clusterBytes),
    compression: compressionOf(bytes, headerBytes, incompatible),
    backing: backingOf(bytes, file, headerBytes, clusterBytes),
  };
}

function assertFeatures(incompatible: bigint, encryption: number): void {
  const known = Object.values(INCOMPATIBLE).reduce((all, bit) => all | bit, 0n);
  if (encryption !== 0) throw qcow2Error('encrypted', 'an encrypted qcow2 is not read');
  if ((incompatible & INCOMPATIBLE.externalData) !== 0n) throw qcow2Error('external-data', 'the data of the qcow2 lie in another file');
  if ((incompatible & INCOMPATIBLE.corrupt) !== 0n) throw qcow2Error('marked-corrupt', 'the qcow2 is marked as corrupt');
  if ((incompatible & ~known) !== 0n) throw qcow2Error('unsupported', 'the qcow2 requires something that is not known');
}

/** Only the entries that the disk needs. */
function l1Of(bytes: Buffer, file: BoundedSource, sizeBytes: number, clusterBytes: number): Qcow2Header['l1'] {
  const entries = Math.ceil(sizeBytes / clusterBytes / clustersPerTable(clusterBytes));
  if (bytes.readUInt32BE(36) < entries || entries * 8 > L1_BYTES_MAX) {
    throw qcow2Error('header-broken', 'the first table of the qcow2 does not fit the disk');
  }
  return { ...placeOf(file, bytes.readBigUInt64BE(40), entries * 8, clusterBytes), entries };
}

function placeOf(file: BoundedSource, offset: bigint, length: number, clusterBytes: number): { offset: number; length: number } {
  if (offset === 0n || offset % BigInt(clusterBytes) !== 0n) {
    throw qcow2Error('header-broken', 'the header of the qcow2 points where no table can be');
  }
  if (offset + BigInt(length) > BigInt(file.sizeBytes)) throw file.truncated();
  return { offset: Number(offset), length };
}

function compressionOf(bytes: Buffer, headerBytes: number, incompatible: bigint): Compression {
  const type = headerBytes > HEADER_V3_BYTES ? bytes.readUInt8(HEADER_V3_BYTES) : 0;
  const compression = COMPRESSIONS[type];
  const isAnnounced = (incompatible & INCOMPATIBLE.compressionType) !== 0n;
  if (compression === undefined || isAnnounced !== (type !== 0)) {
    throw qcow2Error('unsupported', 'the qcow2 is compressed in a way that is not known', { type });
  }
  return compression;
}

function backingOf(bytes: Buffer, file: BoundedSource, headerBytes: number, clusterBytes: number): Qcow2Header['backing'] {
  const offset = bytes.readBigUInt64BE(8);
  const length = bytes.readUInt32BE(16);
  if (offset === 0n) return null;
  const end = offset + BigInt(length);
  if (length === 0 || length > NAME_BYTES_MAX || offset < BigInt(headerBytes) || end > BigInt(clusterBytes)) {
    throw qcow2Error('header-broken', 'the name of the backing file lies where none can be');
  }
  if (end > BigInt(file.sizeBytes)) throw file.truncated();
  if (end > BigInt(bytes.byteLength)) throw qcow2Error('unsupported', 'the header of the qcow2 is longer than any that is known');
  const name = displayText(bytes.toString('utf8', Number(offset), Number(end)));
  return { name, format: backingFormatOf(bytes, headerBytes, Number(offset)) };
}

/** Among the extensions between the header and the name of the backing file. */
function backingFormatOf(bytes: Buffer, headerBytes: number, end: number): string | null {
  let at = headerBytes;
  for (let count = 0; at + 8 <= end && count < EXTENSIONS_MAX; count += 1) {
    const [type, length] = [bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4)];
    if (type === EXTENSIONS.end) return null;
    if (at + 8 + length > end) throw qcow2Error('header-broken', 'an extension of the header is longer than its room');
    if (type === EXTENSIONS.backingFormat)
      return displayText(bytes.toString('latin1', at + 8, at + 8 + Math.min(length, FORMAT_NAME_BYTES_MAX)));
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return null;
}
