import { KIB } from '#libs/kernel';
import {
  HEADER_BYTES,
  METADATA,
  METADATA_TABLE_BYTES,
  NO_LOG,
  PARENT_LOCATOR_TYPE,
  REGION_TABLE_BYTES,
  REGIONS,
  seal,
  writeGuid,
  type Region,
} from './vhdx-layout.js';

const PHYSICAL_SECTOR_BYTES = 4096;
const METADATA_VALUES_BYTES = 8 * KIB;
const FLAGS = { ofDisk: 2, required: 4 } as const;

type Place = Pick<Region, 'offset' | 'length'>;

export interface WrittenMetadata {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly diskId: string;
  readonly isFixed: boolean;
  readonly logicalSectorBytes: number;
  readonly parent: { readonly dataWriteId: string; readonly fileName: string; readonly absolutePath?: string } | null;
}

export function encodeFileIdentifier(): Buffer {
  const bytes = Buffer.alloc(520);
  bytes.write('vhdxfile', 0, 'latin1');
  bytes.write('Holdfast', 8, 'utf16le');
  return bytes;
}

/** A header that names no log: the file was closed in order. */
export function encodeHeader(sequence: bigint, writeId: string, log: Place): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.write('head', 0, 'latin1');
  bytes.writeBigUInt64LE(sequence, 8);
  writeGuid(bytes, 16, writeId);
  writeGuid(bytes, 32, writeId);
  writeGuid(bytes, 48, NO_LOG);
  bytes.writeUInt16LE(0, 64);
  bytes.writeUInt16LE(1, 66);
  bytes.writeUInt32LE(log.length, 68);
  bytes.writeBigUInt64LE(BigInt(log.offset), 72);
  return seal(bytes);
}

export function encodeRegionTable(table: Place, metadata: Place): Buffer {
  const regions = [
    { id: REGIONS.table, ...table },
    { id: REGIONS.metadata, ...metadata },
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

export function encodeMetadata({ sizeBytes, blockBytes, diskId, isFixed, logicalSectorBytes, parent }: WrittenMetadata): Buffer {
  const id = Buffer.alloc(16);
  writeGuid(id, 0, diskId);
  const flags = (isFixed ? 1 : 0) | (parent === null ? 0 : 2);
  const items = [
    { id: METADATA.fileParameters, flags: FLAGS.required, value: Buffer.concat([uint32(blockBytes), uint32(flags)]) },
    { id: METADATA.diskSize, flags: FLAGS.required | FLAGS.ofDisk, value: uint64(sizeBytes) },
    { id: METADATA.diskId, flags: FLAGS.required | FLAGS.ofDisk, value: id },
    { id: METADATA.logicalSectorSize, flags: FLAGS.required | FLAGS.ofDisk, value: uint32(logicalSectorBytes) },
    { id: METADATA.physicalSectorSize, flags: FLAGS.required | FLAGS.ofDisk, value: uint32(PHYSICAL_SECTOR_BYTES) },
    ...(parent === null ? [] : [{ id: METADATA.parentLocator, flags: FLAGS.required, value: encodeParentLocator(parent) }]),
  ];
  const bytes = Buffer.alloc(METADATA_TABLE_BYTES + METADATA_VALUES_BYTES);
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

/** Keys and values, all text, after a table that says where each begins ([MS-VHDX] 2.6.2.6). */
function encodeParentLocator({ dataWriteId, fileName, absolutePath }: NonNullable<WrittenMetadata['parent']>): Buffer {
  const pairs = [
    ['parent_linkage', `{${dataWriteId}}`],
    ['relative_path', `.\\${fileName}`],
    ['absolute_win32_path', absolutePath ?? fileName],
  ].map((pair) => pair.map((text) => Buffer.from(text, 'utf16le')));
  const head = Buffer.alloc(20 + 12 * pairs.length);
  writeGuid(head, 0, PARENT_LOCATOR_TYPE);
  head.writeUInt16LE(pairs.length, 18);
  let textOffset = head.byteLength;
  for (const [index, pair] of pairs.entries()) {
    const at = 20 + 12 * index;
    for (const [column, text] of pair.entries()) {
      head.writeUInt32LE(textOffset, at + 4 * column);
      head.writeUInt16LE(text.byteLength, at + 8 + 2 * column);
      textOffset += text.byteLength;
    }
  }
  return Buffer.concat([head, ...pairs.flat()]);
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
