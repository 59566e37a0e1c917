import { CodedError, GIB, MIB, type ErrorDetails } from '#libs/kernel';

/*
 * VHD, as Microsoft's "Virtual Hard Disk Image Format Specification" has it. All numbers are big-endian.
 *
 *   dynamic, differencing:  footer copy | header | allocation table | parent locators | blocks … | footer
 *   fixed:                  data | footer
 *
 * A block is a bitmap of its sectors followed by its data. The table holds the sector where each block begins, 0xFFFFFFFF for none.
 */
export const SECTOR_BYTES = 512;
export const FOOTER_BYTES = 512;
export const HEADER_BYTES = 1024;
export const BLOCK_BYTES = 2 * MIB;
export const UNALLOCATED = 0xffff_ffff;
/** What Hyper-V takes, too. */
export const VHD_DISK_SIZE_MAX_BYTES = 2040 * GIB;

/** Timestamps count seconds from here. */
const EPOCH_MS = Date.UTC(2000, 0, 1);
const FORMAT_VERSION = 0x0001_0000;
const NO_HEADER = 0xffff_ffff_ffff_ffffn;

export const VHD_TYPES = { fixed: 2, dynamic: 3, differencing: 4 } as const;
export type VhdType = keyof typeof VHD_TYPES;

export interface VhdFooter {
  readonly type: VhdType;
  readonly sizeBytes: number;
  /** 32 hex digits. */
  readonly uniqueId: string;
  readonly timestampSeconds: number;
  /** Where the header is; null in fixed ones. */
  readonly headerOffset: number | null;
}

export interface VhdLocator {
  readonly platform: 'W2ru' | 'W2ku';
  readonly path: Buffer;
  readonly offset: number;
}

export interface VhdHeader {
  readonly tableOffset: number;
  readonly tableEntries: number;
  readonly blockBytes: number;
  readonly parent: { readonly uniqueId: string; readonly timestampSeconds: number; readonly name: string } | null;
}

/** As a file has it: with the places of the paths by which Windows finds the parent. */
export interface ReadVhdHeader extends VhdHeader {
  readonly locators: ReadonlyArray<{ readonly offset: number; readonly length: number }>;
}

export function vhdError(code: string, message: string, details: ErrorDetails = {}): CodedError {
  return new CodedError(`vhd.${code}`, 'invalid', message, details);
}

export function toTimestampSeconds(instant: Date): number {
  return Math.max(0, Math.floor((instant.getTime() - EPOCH_MS) / 1000));
}

/** The bitmap before a block's data, in whole sectors. */
export function bitmapBytesOf(blockBytes: number): number {
  return Math.ceil(blockBytes / SECTOR_BYTES / 8 / SECTOR_BYTES) * SECTOR_BYTES;
}

export function encodeFooter(footer: VhdFooter): Buffer {
  const bytes = Buffer.alloc(FOOTER_BYTES);
  bytes.write('conectix', 0, 'latin1');
  bytes.writeUInt32BE(2, 8);
  bytes.writeUInt32BE(FORMAT_VERSION, 12);
  bytes.writeBigUInt64BE(footer.headerOffset === null ? NO_HEADER : BigInt(footer.headerOffset), 16);
  bytes.writeUInt32BE(footer.timestampSeconds, 24);
  // Readers take the disk's size from the footer for this creator; for others some (QEMU) round it down to the geometry.
  bytes.write('win ', 28, 'latin1');
  bytes.writeUInt32BE(0x000a_0000, 32);
  bytes.write('Wi2k', 36, 'latin1');
  bytes.writeBigUInt64BE(BigInt(footer.sizeBytes), 40);
  bytes.writeBigUInt64BE(BigInt(footer.sizeBytes), 48);
  const { cylinders, heads, sectorsPerTrack } = geometryOf(footer.sizeBytes);
  bytes.writeUInt16BE(cylinders, 56);
  bytes.writeUInt8(heads, 58);
  bytes.writeUInt8(sectorsPerTrack, 59);
  bytes.writeUInt32BE(VHD_TYPES[footer.type], 60);
  bytes.write(footer.uniqueId, 68, 'hex');
  bytes.writeUInt32BE(checksumOf(bytes, 64), 64);
  return bytes;
}

/** Throws `vhd.footer-missing`, `vhd.checksum-mismatch`, `vhd.unsupported`, `vhd.size-invalid`. */
export function parseFooter(bytes: Buffer): VhdFooter {
  if (bytes.toString('latin1', 0, 8) !== 'conectix') throw vhdError('footer-missing', 'there is no VHD footer');
  if (bytes.readUInt32BE(64) !== checksumOf(bytes, 64)) throw vhdError('checksum-mismatch', 'the VHD footer has a wrong checksum');
  const version = bytes.readUInt32BE(12);
  const type = (Object.keys(VHD_TYPES) as VhdType[]).find((name) => VHD_TYPES[name] === bytes.readUInt32BE(60));
  if (version >>> 16 !== 1 || type === undefined) throw vhdError('unsupported', 'this VHD is of a version or type that is not known');
  const sizeBytes = safeNumber(bytes.readBigUInt64BE(48), VHD_DISK_SIZE_MAX_BYTES);
  if (sizeBytes === null || sizeBytes === 0 || sizeBytes % SECTOR_BYTES !== 0) {
    throw vhdError('size-invalid', 'the size of the VHD is not a number of sectors up to 2040 GiB');
  }
  return {
    type,
    sizeBytes,
    uniqueId: bytes.toString('hex', 68, 84),
    timestampSeconds: bytes.readUInt32BE(24),
    headerOffset: type === 'fixed' ? null : safeNumber(bytes.readBigUInt64BE(16)),
  };
}

export function encodeHeader(header: VhdHeader, locators: readonly VhdLocator[]): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.write('cxsparse', 0, 'latin1');
  bytes.writeBigUInt64BE(NO_HEADER, 8);
  bytes.writeBigUInt64BE(BigInt(header.tableOffset), 16);
  bytes.writeUInt32BE(FORMAT_VERSION, 24);
  bytes.writeUInt32BE(header.tableEntries, 28);
  bytes.writeUInt32BE(header.blockBytes, 32);
  if (header.parent !== null) {
    bytes.write(header.parent.uniqueId, 40, 'hex');
    bytes.writeUInt32BE(header.parent.timestampSeconds, 56);
    Buffer.from(header.parent.name, 'utf16le').swap16().copy(bytes, 64, 0, 510);
  }
  for (const [index, { platform, path, offset }] of locators.entries()) {
    const at = 576 + 24 * index;
    bytes.write(platform, at, 'latin1');
    bytes.writeUInt32BE(sectorsUp(path.byteLength), at + 4);
    bytes.writeUInt32BE(path.byteLength, at + 8);
    bytes.writeBigUInt64BE(BigInt(offset), at + 16);
  }
  bytes.writeUInt32BE(checksumOf(bytes, 36), 36);
  return bytes;
}

/** Throws `vhd.header-broken`, `vhd.checksum-mismatch`. Parent locators are for display: a path in a stranger's file is never followed. */
export function parseHeader(bytes: Buffer, footer: VhdFooter): ReadVhdHeader {
  if (bytes.toString('latin1', 0, 8) !== 'cxsparse') throw vhdError('header-broken', 'there is no VHD header where the footer says');
  if (bytes.readUInt32BE(36) !== checksumOf(bytes, 36)) throw vhdError('checksum-mismatch', 'the VHD header has a wrong checksum');
  const tableOffset = safeNumber(bytes.readBigUInt64BE(16));
  const tableEntries = bytes.readUInt32BE(28);
  const blockBytes = bytes.readUInt32BE(32);
  const isBlockSize = blockBytes >= 64 * 1024 && blockBytes <= 256 * MIB && (blockBytes & (blockBytes - 1)) === 0;
  if (
    bytes.readUInt32BE(24) >>> 16 !== 1 ||
    tableOffset === null ||
    !isBlockSize ||
    tableEntries < Math.ceil(footer.sizeBytes / blockBytes)
  ) {
    throw vhdError('header-broken', 'the VHD header contradicts itself or the footer', { blockBytes, tableEntries });
  }
  const name = Buffer.from(bytes.subarray(64, 576)).swap16().toString('utf16le').split('\0', 1)[0]!;
  const parent = { uniqueId: bytes.toString('hex', 40, 56), timestampSeconds: bytes.readUInt32BE(56), name };
  return {
    tableOffset,
    tableEntries,
    blockBytes,
    parent: footer.type === 'differencing' ? parent : null,
    locators: footer.type === 'differencing' ? locatorPlaces(bytes) : [],
  };
}

/** Those with paths as UTF-16: what Windows writes. */
function locatorPlaces(header: Buffer): Array<{ offset: number; length: number }> {
  const places: Array<{ offset: number; length: number }> = [];
  for (let at = 576; at < 576 + 8 * 24; at += 24) {
    const offset = safeNumber(header.readBigUInt64BE(at + 16));
    const isPath = ['W2ru', 'W2ku'].includes(header.toString('latin1', at, at + 4));
    if (isPath && offset !== null) places.push({ offset, length: header.readUInt32BE(at + 8) });
  }
  return places;
}

export function sectorsUp(lengthBytes: number): number {
  return Math.ceil(lengthBytes / SECTOR_BYTES) * SECTOR_BYTES;
}

/** One's complement of the sum of all bytes but the checksum's own four. */
function checksumOf(bytes: Buffer, checksumOffset: number): number {
  let sum = 0;
  for (let index = 0; index < bytes.byteLength; index += 1) {
    if (index < checksumOffset || index >= checksumOffset + 4) sum += bytes[index]!;
  }
  return ~sum >>> 0;
}

/** The specification's own rule, integer divisions as there; it ends at about 127 GiB, beyond which the geometry says "at least". */
function geometryOf(sizeBytes: number): { cylinders: number; heads: number; sectorsPerTrack: number } {
  const totalSectors = Math.min(sizeBytes / SECTOR_BYTES, 65_535 * 16 * 255);
  if (totalSectors >= 65_535 * 16 * 63) {
    return { cylinders: Math.floor(Math.floor(totalSectors / 255) / 16), heads: 16, sectorsPerTrack: 255 };
  }
  let sectorsPerTrack = 17;
  let cylindersTimesHeads = Math.floor(totalSectors / sectorsPerTrack);
  let heads = Math.max(4, Math.floor((cylindersTimesHeads + 1023) / 1024));
  if (cylindersTimesHeads >= heads * 1024 || heads > 16) {
    sectorsPerTrack = 31;
    heads = 16;
    cylindersTimesHeads = Math.floor(totalSectors / sectorsPerTrack);
  }
  if (cylindersTimesHeads >= heads * 1024) {
    sectorsPerTrack = 63;
    heads = 16;
    cylindersTimesHeads = Math.floor(totalSectors / sectorsPerTrack);
  }
  return { cylinders: Math.floor(cylindersTimesHeads / heads), heads, sectorsPerTrack };
}

function safeNumber(value: bigint, max = Number.MAX_SAFE_INTEGER): number | null {
  return value <= BigInt(max) ? Number(value) : null;
}
