import { randomUUID } from 'node:crypto';
import { KIB, MIB, TIB } from '#libs/kernel';
import { dataExtents, type BlockSource } from './block-source.js';
import { copyPieces, type DiskImage } from './disk-image.js';
import {
  BLOCK_STATES,
  chunkRatioOf,
  HEADER_BYTES,
  HEADER_OFFSETS,
  METADATA,
  METADATA_TABLE_BYTES,
  mibUp,
  NO_LOG,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
  REGIONS,
  seal,
  tableIndexOf,
  VHDX_DISK_SIZE_MAX_BYTES,
  vhdxError,
  writeGuid,
  type Region,
} from './vhdx-layout.js';

export interface VhdxImageOptions {
  /** A lower-case UUID. Random if left out. */
  readonly diskId?: string;
  /** A power of two, 1–256 MiB. Default: 2 MiB, and 32 MiB for disks above 2 TiB, whose table would grow long. */
  readonly blockBytes?: number;
}

const LOGICAL_SECTOR_BYTES = 512;
const PHYSICAL_SECTOR_BYTES = 4096;
const LOG = { offset: MIB, length: MIB };
const METADATA_REGION = { offset: 2 * MIB, length: MIB };
const TABLE_OFFSET = 3 * MIB;

/**
 * The disk as a dynamic VHDX: blocks without data are left out. `vhdx.too-large` above 64 TiB, `vhdx.size-invalid` when the disk is not a number
 * of sectors.
 */
export async function dynamicVhdxImage(source: BlockSource, options: VhdxImageOptions = {}): Promise<DiskImage> {
  const { sizeBytes } = source;
  if (sizeBytes > VHDX_DISK_SIZE_MAX_BYTES) throw vhdxError('too-large', 'a VHDX holds at most 64 TiB', { sizeBytes });
  if (sizeBytes <= 0 || sizeBytes % LOGICAL_SECTOR_BYTES !== 0) {
    throw vhdxError('size-invalid', 'a VHDX holds a whole number of sectors', { sizeBytes });
  }
  const blockBytes = options.blockBytes ?? (sizeBytes <= 2 * TIB ? 2 * MIB : 32 * MIB);
  if (blockBytes < MIB || blockBytes > 256 * MIB || !Number.isInteger(Math.log2(blockBytes))) {
    throw vhdxError('block-size-invalid', 'a block is a power of two from 1 to 256 MiB', { blockBytes });
  }
  const allocated = new Set<number>();
  for await (const { offset, length } of dataExtents(source)) {
    for (let block = Math.floor(offset / blockBytes); block * blockBytes < offset + length; block += 1) allocated.add(block);
  }
  const blocks = Math.ceil(sizeBytes / blockBytes);
  const chunkRatio = chunkRatioOf(blockBytes, LOGICAL_SECTOR_BYTES);
  const tableBytes = mibUp((tableIndexOf(blocks - 1, chunkRatio) + 1) * 8);
  const firstBlockOffset = TABLE_OFFSET + tableBytes;
  const diskId = options.diskId ?? randomUUID();

  const pieces = async function* () {
    yield { offset: 0, bytes: fileIdentifier() };
    const writeId = randomUUID();
    for (const [index, offset] of HEADER_OFFSETS.entries()) yield { offset, bytes: header(BigInt(index + 1), writeId) };
    for (const offset of REGION_TABLE_OFFSETS) yield { offset, bytes: regionTable(tableBytes) };
    yield { offset: METADATA_REGION.offset, bytes: metadata(sizeBytes, blockBytes, diskId) };
    yield* tablePieces(allocated, blockBytes, chunkRatio, firstBlockOffset);
    let blockOffset = firstBlockOffset;
    for (const block of allocated) {
      const start = block * blockBytes;
      const data = dataExtents(source, start, Math.min(blockBytes, sizeBytes - start));
      yield* copyPieces(source, data, blockOffset - start);
      blockOffset += blockBytes;
    }
  };
  return { sizeBytes: firstBlockOffset + allocated.size * blockBytes, pieces };
}

function fileIdentifier(): Buffer {
  const bytes = Buffer.alloc(520);
  bytes.write('vhdxfile', 0, 'latin1');
  bytes.write('Holdfast', 8, 'utf16le');
  return bytes;
}

function header(sequence: bigint, writeId: string): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.write('head', 0, 'latin1');
  bytes.writeBigUInt64LE(sequence, 8);
  writeGuid(bytes, 16, writeId);
  writeGuid(bytes, 32, writeId);
  writeGuid(bytes, 48, NO_LOG);
  bytes.writeUInt16LE(0, 64);
  bytes.writeUInt16LE(1, 66);
  bytes.writeUInt32LE(LOG.length, 68);
  bytes.writeBigUInt64LE(BigInt(LOG.offset), 72);
  return seal(bytes);
}

function regionTable(tableBytes: number): Buffer {
  const regions: Region[] = [
    { id: REGIONS.table, offset: TABLE_OFFSET, length: tableBytes, isRequired: true },
    { id: REGIONS.metadata, ...METADATA_REGION, isRequired: true },
  ];
  const bytes = Buffer.alloc(REGION_TABLE_BYTES);
  bytes.write('regi', 0, 'latin1');
  bytes.writeUInt32LE(regions.length, 8);
  for (const [index, region] of regions.entries()) {
    const at = 16 + 32 * index;
    writeGuid(bytes, at, region.id);
    bytes.writeBigUInt64LE(BigInt(region.offset), at + 16);
    bytes.writeUInt32LE(region.length, at + 24);
    bytes.writeUInt32LE(1, at + 28);
  }
  return seal(bytes);
}

function metadata(sizeBytes: number, blockBytes: number, diskId: string): Buffer {
  const isRequired = 4;
  const ofDisk = 2;
  const id = Buffer.alloc(16);
  writeGuid(id, 0, diskId);
  const items = [
    { id: METADATA.fileParameters, flags: isRequired, value: Buffer.concat([uint32(blockBytes), uint32(0)]) },
    { id: METADATA.diskSize, flags: isRequired | ofDisk, value: uint64(sizeBytes) },
    { id: METADATA.diskId, flags: isRequired | ofDisk, value: id },
    { id: METADATA.logicalSectorSize, flags: isRequired | ofDisk, value: uint32(LOGICAL_SECTOR_BYTES) },
    { id: METADATA.physicalSectorSize, flags: isRequired | ofDisk, value: uint32(PHYSICAL_SECTOR_BYTES) },
  ];
  const bytes = Buffer.alloc(METADATA_TABLE_BYTES + 4 * KIB);
  bytes.write('metadata', 0, 'latin1');
  bytes.writeUInt16LE(items.length, 10);
  let valueOffset = METADATA_TABLE_BYTES;
  for (const [index, item] of items.entries()) {
    const at = 32 + 32 * index;
    writeGuid(bytes, at, item.id);
    bytes.writeUInt32LE(valueOffset, at + 16);
    bytes.writeUInt32LE(item.value.byteLength, at + 20);
    bytes.writeUInt32LE(item.flags, at + 24);
    item.value.copy(bytes, valueOffset);
    valueOffset += item.value.byteLength;
  }
  return bytes;
}

/** The table's parts that say anything, a MiB at a time: an entry of zeros is a block that is not there. */
function* tablePieces(allocated: Iterable<number>, blockBytes: number, chunkRatio: number, firstBlockOffset: number) {
  let page: { offset: number; bytes: Buffer } | undefined;
  let blockOffset = firstBlockOffset;
  for (const block of allocated) {
    const at = TABLE_OFFSET + tableIndexOf(block, chunkRatio) * 8;
    const pageOffset = Math.floor(at / MIB) * MIB;
    if (page?.offset !== pageOffset) {
      if (page !== undefined) yield page;
      page = { offset: pageOffset, bytes: Buffer.alloc(MIB) };
    }
    const entry = (BigInt(blockOffset / MIB) << 20n) | BigInt(BLOCK_STATES.fullyPresent);
    page.bytes.writeBigUInt64LE(entry, at - pageOffset);
    blockOffset += blockBytes;
  }
  if (page !== undefined) yield page;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
