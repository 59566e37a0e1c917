import { BLOCKS_PER_DISK_MAX, FULL_MASK, GRAIN_BYTES } from './limits.js';

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

export const RECORD_HEADER_BYTES = 72;
const RECORD_VERSION = 1;
/** "HFR", then the version. */
const MAGIC = 0x48_46_52;
const CODECS: readonly RecordCodec[] = ['raw', 'zstd', 'zero-run'];
/** As it stands in a header. */
export const ZERO_RUN_CODEC = CODECS.indexOf('zero-run');

export function writeRecordHeader(header: RecordHeader, target: Buffer, at: number): void {
  target.writeUIntBE(MAGIC, at, 3);
  target[at + 3] = RECORD_VERSION;
  target[at + 4] = CODECS.indexOf(header.codec);
  target[at + 5] = 0;
  target.writeUInt16BE(header.disk, at + 6);
  target.writeUInt32BE(header.block, at + 8);
  target.writeUInt32BE(header.count, at + 12);
  target.writeUInt16BE(header.mask, at + 16);
  target.writeUInt16BE(header.generation, at + 18);
  target.writeUInt32BE(header.ordinal, at + 20);
  target.writeBigUInt64BE(header.cycle, at + 24);
  target.writeUInt32BE(header.plainBytes, at + 32);
  target.writeUInt32BE(header.storedBytes, at + 36);
  header.salt.copy(target, at + 40);
  header.fingerprint.copy(target, at + 56);
}

/** Reads a header in which {@link recordHeaderFault} found nothing. Salt and fingerprint share the source's memory. */
export function readRecordHeader(source: Buffer, at: number): RecordHeader {
  return {
    codec: CODECS[source[at + 4]!]!,
    disk: source.readUInt16BE(at + 6),
    block: source.readUInt32BE(at + 8),
    count: source.readUInt32BE(at + 12),
    mask: source.readUInt16BE(at + 16),
    generation: source.readUInt16BE(at + 18),
    ordinal: source.readUInt32BE(at + 20),
    cycle: source.readBigUInt64BE(at + 24),
    plainBytes: source.readUInt32BE(at + 32),
    storedBytes: source.readUInt32BE(at + 36),
    salt: source.subarray(at + 40, at + 56),
    fingerprint: source.subarray(at + 56, at + 72),
  };
}

export interface HeaderFault {
  /** The part of an error code after its first dot. */
  readonly code: 'malformed' | 'version-unsupported' | 'out-of-bounds';
  readonly message: string;
}

/** What is wrong with the 72 bytes at `at` taken by themselves, or null. */
export function recordHeaderFault(source: Buffer, at: number): HeaderFault | null {
  if (source.readUIntBE(at, 3) !== MAGIC) return malformed('a record begins with HFR');
  if (source[at + 3] !== RECORD_VERSION) return { code: 'version-unsupported', message: `record version ${source[at + 3]} is not known` };
  const codec = CODECS[source[at + 4]!];
  if (codec === undefined) return { code: 'version-unsupported', message: `codec ${source[at + 4]} is not known` };
  if (source[at + 5] !== 0) return malformed('a reserved byte is not zero');
  // Read one by one: an index looks at tens of millions, and of each at a few fields.
  const count = source.readUInt32BE(at + 12);
  const mask = source.readUInt16BE(at + 16);
  const plainBytes = source.readUInt32BE(at + 32);
  const storedBytes = source.readUInt32BE(at + 36);
  if (count < 1 || source.readUInt32BE(at + 8) + count > BLOCKS_PER_DISK_MAX) {
    return { code: 'out-of-bounds', message: 'a record lies past 2^30 blocks' };
  }
  if (source.readUInt16BE(at + 18) === 0) return malformed('key generations begin at 1');
  if (codec === 'zero-run') {
    if (mask !== FULL_MASK || plainBytes !== 0 || storedBytes !== 0) return malformed('a zero run has a full mask and no bytes');
    return null;
  }
  if (count !== 1 || mask === 0) return malformed('a data record covers some grains of one block');
  if (plainBytes !== GRAIN_BYTES * grainCount(mask)) return malformed('the plain length is not that of the mask');
  const isStoredRight = codec === 'raw' ? storedBytes === plainBytes : storedBytes > 0 && storedBytes <= maxCompressedBytes(plainBytes);
  return isStoredRight ? null : malformed('the stored length does not go with the codec');
}

/** Compression must save at least a sixteenth, or the bytes are kept raw. */
export function maxCompressedBytes(plainBytes: number): number {
  return plainBytes - plainBytes / 16;
}

/** Number of grains a mask names. */
export function grainCount(mask: number): number {
  let bits = mask - ((mask >>> 1) & 0x5555);
  bits = (bits & 0x3333) + ((bits >>> 2) & 0x3333);
  bits = (bits + (bits >>> 4)) & 0x0f0f;
  return (bits + (bits >>> 8)) & 0x1f;
}

function malformed(message: string): HeaderFault {
  return { code: 'malformed', message };
}
