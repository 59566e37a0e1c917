import { MIB } from '#libs/kernel';
import type { BoundedSource } from '../source/bounded-source.js';
import { parseParentLocator, type VhdxParentLocator } from './vhdx-locator.js';
import {
  ENTRIES_MAX,
  HEADER_BYTES,
  HEADER_OFFSETS,
  isSealed,
  METADATA,
  METADATA_TABLE_BYTES,
  NO_LOG,
  readGuid,
  readSafe,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
  REGIONS,
  VHDX_DISK_SIZE_MAX_BYTES,
  vhdxError,
  type Region,
  type VhdxHeader,
} from './vhdx-layout.js';

export interface VhdxGeometry {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly logicalSectorBytes: number;
  readonly diskId: string;
  readonly isFixed: boolean;
  /** Null where the file stands for itself. */
  readonly parent: VhdxParentLocator | null;
}

/** The valid header with the higher sequence number. `vhdx.signature-missing`, `vhdx.header-broken`, `vhdx.unsupported`. */
export async function readHeader(file: BoundedSource): Promise<VhdxHeader> {
  if (file.sizeBytes < MIB) throw file.truncated();
  const identifier = await file.read(0, 8);
  if (identifier.toString('latin1') !== 'vhdxfile') throw vhdxError('signature-missing', 'this is no VHDX');
  const headers: VhdxHeader[] = [];
  for (const offset of HEADER_OFFSETS) {
    const bytes = await file.read(offset, HEADER_BYTES);
    if (isSealed(bytes, 'head')) headers.push(parseHeader(bytes));
  }
  const [first, second] = headers;
  if (first === undefined) throw vhdxError('header-broken', 'neither header of the VHDX is whole');
  return second !== undefined && second.sequence > first.sequence ? second : first;
}

function parseHeader(bytes: Buffer): VhdxHeader {
  if (bytes.readUInt16LE(66) !== 1 || bytes.readUInt16LE(64) !== 0)
    throw vhdxError('unsupported', 'this VHDX is of a version that is not known');
  const logBytes = bytes.readUInt32LE(68);
  const logOffset = readSafe(bytes, 72);
  if (logOffset === null || logOffset % MIB !== 0 || logBytes % MIB !== 0 || logOffset < MIB) {
    throw vhdxError('header-broken', 'the header places the log where none can be');
  }
  return { sequence: bytes.readBigUInt64LE(8), logId: readGuid(bytes, 48), dataWriteId: readGuid(bytes, 32), logOffset, logBytes };
}

export function hasLog({ logId, logBytes }: VhdxHeader): boolean {
  return logId !== NO_LOG && logBytes > 0;
}

/** The two regions that every VHDX has. `vhdx.region-broken`, `vhdx.region-overlap`, `vhdx.unsupported`, `vhdx.truncated`. */
export async function readRegions(
  file: BoundedSource,
  header: VhdxHeader,
): Promise<{ table: Region; metadata: Region; all: readonly Region[] }> {
  for (const offset of REGION_TABLE_OFFSETS) {
    const bytes = await file.read(offset, REGION_TABLE_BYTES);
    if (!isSealed(bytes, 'regi')) continue;
    const all = parseRegions(bytes);
    assertRegionsDisjoint(file, all, header);
    const table = all.find(({ id }) => id === REGIONS.table);
    const metadata = all.find(({ id }) => id === REGIONS.metadata);
    if (table === undefined || metadata === undefined) throw vhdxError('region-broken', 'the VHDX lacks its metadata or its block table');
    return { table, metadata, all };
  }
  throw vhdxError('region-broken', 'neither region table of the VHDX is whole');
}

function parseRegions(bytes: Buffer): Region[] {
  const count = bytes.readUInt32LE(8);
  if (count > ENTRIES_MAX) throw vhdxError('region-broken', 'the region table claims more entries than it can hold');
  const regions: Region[] = [];
  for (let at = 16; at < 16 + 32 * count; at += 32) {
    const offset = readSafe(bytes, at + 16);
    const length = bytes.readUInt32LE(at + 24);
    if (offset === null || offset < MIB || offset % MIB !== 0 || length === 0 || length % MIB !== 0) {
      throw vhdxError('region-broken', 'a region of the VHDX lies where none can be');
    }
    regions.push({ id: readGuid(bytes, at), offset, length, isRequired: (bytes.readUInt32LE(at + 28) & 1) === 1 });
  }
  const known = new Set<string>(Object.values(REGIONS));
  if (new Set(regions.map(({ id }) => id)).size !== regions.length) throw vhdxError('region-broken', 'a region of the VHDX comes twice');
  if (regions.some(({ id, isRequired }) => isRequired && !known.has(id))) {
    throw vhdxError('unsupported', 'the VHDX requires a region that is not known');
  }
  return regions;
}

function assertRegionsDisjoint(file: BoundedSource, regions: readonly Region[], header: VhdxHeader): void {
  const spans = [...regions, { offset: header.logOffset, length: header.logBytes }].sort((a, b) => a.offset - b.offset);
  for (const [index, span] of spans.entries()) {
    const next = spans[index + 1];
    if (next !== undefined && span.offset + span.length > next.offset) throw vhdxError('region-overlap', 'two regions of the VHDX overlap');
    if (span.offset + span.length > file.sizeBytes) throw file.truncated();
  }
}

/** `vhdx.metadata-broken`, `vhdx.size-invalid`, `vhdx.unsupported`. */
export async function readGeometry(file: BoundedSource, region: Region): Promise<VhdxGeometry> {
  const items = await readItems(file, region);
  const value = (id: string, lengthBytes: number): Buffer => {
    const found = items.get(id);
    if (found?.byteLength !== lengthBytes) throw vhdxError('metadata-broken', 'the metadata of the VHDX is incomplete', { item: id });
    return found;
  };
  const parameters = value(METADATA.fileParameters, 8);
  const blockBytes = parameters.readUInt32LE(0);
  const flags = parameters.readUInt32LE(4);
  const sizeBytes = readSafe(value(METADATA.diskSize, 8), 0);
  const logicalSectorBytes = value(METADATA.logicalSectorSize, 4).readUInt32LE(0);
  if (blockBytes < MIB || blockBytes > 256 * MIB || (blockBytes & (blockBytes - 1)) !== 0) {
    throw vhdxError('metadata-broken', 'the block size of the VHDX is none', { blockBytes });
  }
  if (logicalSectorBytes !== 512 && logicalSectorBytes !== 4096) {
    throw vhdxError('metadata-broken', 'the sector size of the VHDX is none', { logicalSectorBytes });
  }
  if (sizeBytes === null || sizeBytes === 0 || sizeBytes > VHDX_DISK_SIZE_MAX_BYTES || sizeBytes % logicalSectorBytes !== 0) {
    throw vhdxError('size-invalid', 'the size of the VHDX is not a number of sectors up to 64 TiB');
  }
  const locator = items.get(METADATA.parentLocator) ?? Buffer.alloc(0);
  const diskId = readGuid(value(METADATA.diskId, 16), 0);
  return {
    sizeBytes,
    blockBytes,
    logicalSectorBytes,
    diskId,
    isFixed: (flags & 3) === 1,
    parent: (flags & 2) === 0 ? null : parseParentLocator(locator),
  };
}

/** The small values by their id. A stranger's item may be up to 1 MiB; only those that are known are read. */
async function readItems(file: BoundedSource, region: Region): Promise<Map<string, Buffer>> {
  if (region.length < METADATA_TABLE_BYTES) throw vhdxError('metadata-broken', 'the metadata region is too short');
  const table = await file.read(region.offset, METADATA_TABLE_BYTES);
  const count = table.readUInt16LE(10);
  if (table.toString('latin1', 0, 8) !== 'metadata' || count > ENTRIES_MAX)
    throw vhdxError('metadata-broken', 'there is no metadata table');
  const known = new Set<string>(Object.values(METADATA));
  const items = new Map<string, Buffer>();
  const spans: Array<{ offset: number; length: number }> = [];
  for (let at = 32; at < 32 + 32 * count; at += 32) {
    const id = readGuid(table, at);
    const [offset, length, flags] = [table.readUInt32LE(at + 16), table.readUInt32LE(at + 20), table.readUInt32LE(at + 24)];
    const isUser = (flags & 1) !== 0;
    if (items.has(id)) throw vhdxError('metadata-broken', 'an item of the metadata comes twice', { item: id });
    if (!known.has(id) || isUser) {
      if ((flags & 4) !== 0) throw vhdxError('unsupported', 'the VHDX requires metadata that is not known', { item: id });
      continue;
    }
    if (length > MIB || offset < METADATA_TABLE_BYTES || offset + length > region.length) {
      throw vhdxError('metadata-broken', 'an item of the metadata lies where none can be', { item: id });
    }
    spans.push({ offset, length });
    items.set(id, await file.read(region.offset + offset, length));
  }
  spans.sort((a, b) => a.offset - b.offset);
  if (spans.some((span, index) => span.offset + span.length > (spans[index + 1]?.offset ?? Number.MAX_SAFE_INTEGER))) {
    throw vhdxError('metadata-broken', 'two items of the metadata overlap');
  }
  return items;
}
