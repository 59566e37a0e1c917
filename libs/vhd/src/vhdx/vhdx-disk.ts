import { assert, MIB } from '#libs/kernel';
import type { BlockSource, DiskExtent, RandomAccessSource } from '../source/block-source.js';
import { BoundedSource, overlaps } from '../source/bounded-source.js';
import { BLOCK_STATES, chunkRatioOf, tableIndexOf, vhdxError, type Region, type VhdxHeader } from './vhdx-layout.js';
import { replayLog } from './vhdx-log.js';
import { hasLog, readGeometry, readHeader, readRegions, type VhdxGeometry } from './vhdx-structure.js';

export interface VhdxDisk extends BlockSource {
  readonly type: 'fixed' | 'dynamic';
  /** A lower-case UUID. */
  readonly diskId: string;
  readonly logicalSectorBytes: number;
}

/** 64 TiB in Hyper-V's 32 MiB blocks, eight times over. */
const BLOCKS_MAX = 2 ** 24;
const TABLE_PAGE_BYTES = MIB;

/** Block without a place in the file: reads as zeros. */
const NOWHERE = -1;

/**
 * Opens a fixed or dynamic VHDX, as it is after its log was played. Codes: `vhdx.signature-missing`, `vhdx.truncated`, `vhdx.header-broken`,
 * `vhdx.unsupported`, `vhdx.log-broken`, `vhdx.log-too-large`, `vhdx.region-broken`, `vhdx.region-overlap`, `vhdx.metadata-broken`,
 * `vhdx.size-invalid`, `vhdx.differencing-unsupported`, `vhdx.too-many-blocks`, `vhdx.table-broken`, `vhdx.block-overlap`.
 */
export async function openVhdx(source: RandomAccessSource): Promise<VhdxDisk> {
  const { file, header } = await openPlayed(source);
  const regions = await readRegions(file, header);
  const geometry = await readGeometry(file, regions.metadata);
  const places = await readPlaces(file, regions.table, geometry);
  assertPlaces(file, places, regions.all, header, geometry.blockBytes);
  return new OpenVhdxDisk(file, geometry, places);
}

/** Geometry alone, without the block table. */
export async function readVhdxGeometry(source: RandomAccessSource): Promise<VhdxGeometry> {
  const { file, header } = await openPlayed(source);
  return readGeometry(file, (await readRegions(file, header)).metadata);
}

async function openPlayed(source: RandomAccessSource): Promise<{ file: BoundedSource; header: VhdxHeader }> {
  const file = new BoundedSource(source, 'vhdx');
  const header = await readHeader(file);
  if (!hasLog(header)) return { file, header };
  return { file: new BoundedSource(await replayLog(file, header), 'vhdx'), header };
}

/** Where each block lies, in bytes. */
async function readPlaces(file: BoundedSource, region: Region, geometry: VhdxGeometry): Promise<Float64Array> {
  const { sizeBytes, blockBytes, logicalSectorBytes } = geometry;
  const blocks = Math.ceil(sizeBytes / blockBytes);
  if (blocks > BLOCKS_MAX) throw vhdxError('too-many-blocks', 'the VHDX has more blocks than any such disk needs', { blocks });
  const chunkRatio = chunkRatioOf(blockBytes, logicalSectorBytes);
  const tableBytes = (tableIndexOf(blocks - 1, chunkRatio) + 1) * 8;
  if (tableBytes > region.length) throw vhdxError('table-broken', 'the block table is shorter than the disk needs');
  const places = new Float64Array(blocks);
  let page: Buffer = Buffer.alloc(0);
  let pageOffset = 0;
  for (let block = 0; block < blocks; block += 1) {
    const at = tableIndexOf(block, chunkRatio) * 8;
    if (at >= pageOffset + page.byteLength) {
      pageOffset = at;
      page = await file.read(region.offset + at, Math.min(TABLE_PAGE_BYTES, tableBytes - at));
    }
    places[block] = placeOf(page, at - pageOffset);
  }
  return places;
}

function placeOf(page: Buffer, at: number): number {
  const low = page.readUInt32LE(at);
  const state = low & 7;
  const offset = ((low >>> 20) + page.readUInt32LE(at + 4) * 4096) * MIB;
  switch (state) {
    case BLOCK_STATES.notPresent:
    case BLOCK_STATES.undefined:
    case BLOCK_STATES.zero:
    case BLOCK_STATES.unmapped:
      return NOWHERE;
    case BLOCK_STATES.fullyPresent:
      return offset;
    default:
      throw vhdxError('table-broken', 'a block is in a state that is none', { state });
  }
}

function assertPlaces(file: BoundedSource, places: Float64Array, regions: readonly Region[], header: VhdxHeader, blockBytes: number): void {
  const spans = [{ offset: 0, length: MIB }, { offset: header.logOffset, length: header.logBytes }, ...regions];
  const starts = places.filter((place) => place !== NOWHERE);
  if (overlaps(spans, starts, blockBytes)) throw vhdxError('block-overlap', 'two parts of the VHDX lie at one place');
  if (starts.length > 0 && starts.at(-1)! + blockBytes > file.sizeBytes) throw file.truncated();
}

class OpenVhdxDisk implements VhdxDisk {
  readonly type: 'fixed' | 'dynamic';
  readonly sizeBytes: number;
  readonly diskId: string;
  readonly logicalSectorBytes: number;
  private readonly blockBytes: number;

  constructor(
    private readonly file: BoundedSource,
    geometry: VhdxGeometry,
    private readonly places: Float64Array,
  ) {
    this.type = geometry.isFixed ? 'fixed' : 'dynamic';
    this.sizeBytes = geometry.sizeBytes;
    this.diskId = geometry.diskId;
    this.logicalSectorBytes = geometry.logicalSectorBytes;
    this.blockBytes = geometry.blockBytes;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    assert(offset >= 0 && length >= 0 && offset + length <= this.sizeBytes, 'a read lies inside the disk');
    const result = Buffer.alloc(length);
    for (const extent of this.present(offset, length)) {
      result.set(await this.file.read(extent.place, extent.length), extent.offset - offset);
    }
    return result;
  }

  async extents(offset: number, length: number): Promise<DiskExtent[]> {
    return Array.from(this.present(offset, length), (extent) => ({ offset: extent.offset, length: extent.length, zero: false }));
  }

  private *present(offset: number, length: number): Iterable<{ offset: number; length: number; place: number }> {
    const end = offset + length;
    for (let at = offset; at < end;) {
      const block = Math.floor(at / this.blockBytes);
      const blockEnd = Math.min(end, (block + 1) * this.blockBytes);
      const place = this.places[block]!;
      if (place !== NOWHERE) yield { offset: at, length: blockEnd - at, place: place + at - block * this.blockBytes };
      at = blockEnd;
    }
  }
}
