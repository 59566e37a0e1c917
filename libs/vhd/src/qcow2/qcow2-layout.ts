import { CodedError, MIB, TIB, type ErrorDetails } from '#libs/kernel';

/*
 * qcow2, as QEMU's docs/interop/qcow2.txt has it. All numbers are big-endian. A file is a number of clusters:
 *
 *   header | refcount table | refcount blocks | L1 table | L2 tables … | data …       (this order is ours; others mix them)
 *
 * The L1 table says where each L2 table lies, and that where each cluster of the disk lies. Refcounts say how often a cluster of the file is in use.
 */
export const MAGIC = Buffer.from('QFI\xfb', 'latin1');
export const HEADER_BYTES = 104;
export const CLUSTER_BITS_MIN = 9;
export const CLUSTER_BITS_MAX = 21;
export const SECTOR_BYTES = 512;
export const QCOW2_DISK_SIZE_MAX_BYTES = 64 * TIB;
/** As much as QEMU takes. */
export const L1_BYTES_MAX = 32 * MIB;

/** In the upper half of an entry of L1 and L2: the cluster is used once, and may be written in place. */
export const COPIED = 0x8000_0000;
/** In the upper half of an entry of L2. */
export const COMPRESSED = 0x4000_0000;

export const INCOMPATIBLE = { dirty: 1n, corrupt: 2n, externalData: 4n, compressionType: 8n } as const;
export const EXTENSIONS = { end: 0, backingFormat: 0xe279_2aca } as const;

export type Compression = 'zlib' | 'zstd';

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly sizeBytes: number;
  readonly clusterBytes: number;
  readonly l1: { readonly offset: number; readonly entries: number };
  readonly refcountTable: { readonly offset: number; readonly length: number };
  readonly compression: Compression;
  /** Null where the file stands for itself. Only to be shown. */
  readonly backing: { readonly name: string; readonly format: string | null } | null;
}

export function qcow2Error(code: string, message: string, details: ErrorDetails = {}): CodedError {
  return new CodedError(`qcow2.${code}`, 'invalid', message, details);
}

/** How many clusters of the disk one L2 table tells of. */
export function clustersPerTable(clusterBytes: number): number {
  return clusterBytes / 8;
}

export function encodeQcow2Header(header: Omit<Qcow2Header, 'version' | 'compression' | 'backing'>): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + 8);
  MAGIC.copy(bytes);
  bytes.writeUInt32BE(3, 4);
  bytes.writeUInt32BE(Math.log2(header.clusterBytes), 20);
  bytes.writeBigUInt64BE(BigInt(header.sizeBytes), 24);
  bytes.writeUInt32BE(header.l1.entries, 36);
  bytes.writeBigUInt64BE(BigInt(header.l1.offset), 40);
  bytes.writeBigUInt64BE(BigInt(header.refcountTable.offset), 48);
  bytes.writeUInt32BE(header.refcountTable.length / header.clusterBytes, 56);
  bytes.writeUInt32BE(REFCOUNT_ORDER, 96);
  bytes.writeUInt32BE(HEADER_BYTES, 100);
  return bytes;
}

/** Refcounts of 16 bits, which is what every reader knows. */
const REFCOUNT_ORDER = 4;
export const REFCOUNT_BYTES = 2;
