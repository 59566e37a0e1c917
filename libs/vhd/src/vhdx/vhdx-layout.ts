import { CodedError, KIB, MIB, TIB, type ErrorDetails } from '#libs/kernel';
import { crc32c } from './crc32c.js';

/*
 * VHDX, as [MS-VHDX] has it. All numbers are little-endian, GUIDs mixed.
 *
 *   0        file identifier
 *   64 KiB   header 1      128 KiB  header 2         the one with the higher sequence number counts
 *   192 KiB  regions 1     256 KiB  regions 2        two copies
 *   1 MiB …  log, metadata, block allocation table, blocks, each beginning on a MiB
 */
export const HEADER_OFFSETS = [64 * KIB, 128 * KIB] as const;
export const REGION_TABLE_OFFSETS = [192 * KIB, 256 * KIB] as const;
export const HEADER_BYTES = 4 * KIB;
export const REGION_TABLE_BYTES = 64 * KIB;
export const METADATA_TABLE_BYTES = 64 * KIB;
export const ENTRIES_MAX = 2047;
/** The bits of one chunk's sectors. */
export const BITMAP_BLOCK_BYTES = MIB;
export const VHDX_DISK_SIZE_MAX_BYTES = 64 * TIB;

export const REGIONS = {
  table: '2dc27766-f623-4200-9d64-115e9bfd4a08',
  metadata: '8b7ca206-4790-4b9a-b8fe-575f050f886e',
} as const;

export const METADATA = {
  fileParameters: 'caa16737-fa36-4d43-b3b6-33f0aa44e76b',
  diskSize: '2fa54224-cd1b-4876-b211-5dbed83bf4b8',
  diskId: 'beca12ab-b2e6-4523-93ef-c309e000c746',
  logicalSectorSize: '8141bf1d-a96f-4709-ba47-f233a8faab5f',
  physicalSectorSize: 'cda348c7-445d-4471-9cc9-e9885251c556',
  parentLocator: 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c',
} as const;

/** Of a parent that is a VHDX, too; no other kind is defined. */
export const PARENT_LOCATOR_TYPE = 'b04aefb7-d19e-4a81-b789-25b8e9445913';

/** States of a block in the allocation table. */
export const BLOCK_STATES = { notPresent: 0, undefined: 1, zero: 2, unmapped: 3, fullyPresent: 6, partiallyPresent: 7 } as const;

export interface VhdxHeader {
  readonly sequence: bigint;
  /** All zeros when the log holds nothing. */
  readonly logId: string;
  /** Changes with the first write after each opening: by it a child knows its parent. */
  readonly dataWriteId: string;
  readonly logOffset: number;
  readonly logBytes: number;
}

export interface Region {
  readonly id: string;
  readonly offset: number;
  readonly length: number;
  readonly isRequired: boolean;
}

export const NO_LOG = '00000000-0000-0000-0000-000000000000';

export function vhdxError(code: string, message: string, details: ErrorDetails = {}): CodedError {
  return new CodedError(`vhdx.${code}`, 'invalid', message, details);
}

/** After each so many blocks' entries the table holds one for their sector bitmap, also where no bitmap exists. */
export function chunkRatioOf(blockBytes: number, logicalSectorBytes: number): number {
  return (2 ** 23 * logicalSectorBytes) / blockBytes;
}

export function tableIndexOf(block: number, chunkRatio: number): number {
  return block + Math.floor(block / chunkRatio);
}

/** A differencing file needs the entry of its last bitmap, too. */
export function tableEntriesOf(blocks: number, chunkRatio: number, isDifferencing: boolean): number {
  return isDifferencing ? Math.ceil(blocks / chunkRatio) * (chunkRatio + 1) : tableIndexOf(blocks - 1, chunkRatio) + 1;
}

export function mibUp(lengthBytes: number): number {
  return Math.ceil(lengthBytes / MIB) * MIB;
}

export function readGuid(bytes: Buffer, offset: number): string {
  const mixed = Buffer.from(bytes.subarray(offset, offset + 16));
  mixed.subarray(0, 4).reverse();
  mixed.subarray(4, 6).reverse();
  mixed.subarray(6, 8).reverse();
  const hex = mixed.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

export function writeGuid(bytes: Buffer, offset: number, id: string): void {
  bytes.write(id.replaceAll('-', ''), offset, 'hex');
  bytes.subarray(offset, offset + 4).reverse();
  bytes.subarray(offset + 4, offset + 6).reverse();
  bytes.subarray(offset + 6, offset + 8).reverse();
}

/** Structures keep their CRC-32C at byte 4, computed with those bytes zero. */
export function seal(bytes: Buffer): Buffer {
  bytes.writeUInt32LE(crc32c(bytes, 4), 4);
  return bytes;
}

export function isSealed(bytes: Buffer, signature: string): boolean {
  return bytes.toString('latin1', 0, signature.length) === signature && bytes.readUInt32LE(4) === crc32c(bytes, 4);
}

/** A 64-bit field as a number, or null where no file can be that long. */
export function readSafe(bytes: Buffer, offset: number): number | null {
  const value = bytes.readBigUInt64LE(offset);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : null;
}
