import { randomUUID } from 'node:crypto';
import { MIB, TIB } from '#libs/kernel';
import { Changes } from '../image/changes.js';
import type { DiskImage } from '../image/disk-image.js';
import { bytesPart, copyPieces, imageOf, moved, tablePart, unitsPart, type ImagePart } from '../image/image-parts.js';
import { assertParentName, type ParentFile } from '../image/parent-file.js';
import { UnitMap } from '../image/unit-map.js';
import { dataExtents, type BlockSource, type ByteExtent } from '../source/block-source.js';
import {
  BITMAP_BLOCK_BYTES,
  BLOCK_STATES,
  chunkRatioOf,
  HEADER_OFFSETS,
  mibUp,
  REGION_TABLE_OFFSETS,
  tableEntriesOf,
  VHDX_DISK_SIZE_MAX_BYTES,
  vhdxError,
} from './vhdx-layout.js';
import { encodeFileIdentifier, encodeHeader, encodeMetadata, encodeRegionTable } from './vhdx-encoding.js';

/** By `dataWriteId` a differencing VHDX knows its parent: whoever writes to a VHDX gives it another. Lower-case UUIDs. */
export interface VhdxIdentity {
  /** What the guest sees as the disk's serial number; a child keeps its parent's. */
  readonly diskId: string;
  readonly dataWriteId: string;
}

export interface VhdxParent extends ParentFile {
  readonly dataWriteId: string;
}

export interface VhdxImage extends DiskImage {
  readonly identity: VhdxIdentity;
}

/** Ids that are left out are random. */
export interface VhdxImageOptions extends Partial<VhdxIdentity> {
  /** A power of two, 1–256 MiB. Default: 2 MiB, and 32 MiB for disks above 2 TiB, whose table would grow long. */
  readonly blockBytes?: number;
}

const LOGICAL_SECTOR_BYTES = 512;
const LOG = { offset: MIB, length: MIB };
const METADATA_REGION = { offset: 2 * MIB, length: MIB };
const TABLE_OFFSET = 3 * MIB;

/**
 * The disk as a dynamic VHDX: blocks without data are left out. `vhdx.too-large` above 64 TiB, `vhdx.size-invalid` when the disk is not a number
 * of sectors, `vhdx.block-size-invalid`.
 */
export async function dynamicVhdxImage(source: BlockSource, options: VhdxImageOptions = {}): Promise<VhdxImage> {
  const blockBytes = blockBytesFor(source.sizeBytes, options.blockBytes);
  return layOut({ source, blockBytes, options, isFixed: false, parent: null, present: await UnitMap.ofData(source, blockBytes) });
}

/** The disk as a fixed VHDX, every block in its place; saved to a file, its zeros are holes. Errors as of {@link dynamicVhdxImage}. */
export function fixedVhdxImage(source: BlockSource, options: VhdxImageOptions = {}): VhdxImage {
  const blockBytes = blockBytesFor(source.sizeBytes, options.blockBytes);
  const present = UnitMap.whole(Math.ceil(source.sizeBytes / blockBytes));
  return layOut({ source, blockBytes, options, isFixed: true, parent: null, present });
}

/**
 * What changed between the parent and `source` as a differencing VHDX. `changes` are ascending, disjoint, inside the disk and whole sectors of
 * 512 bytes; what became zero counts as changed. Both disks have one size, else the child reads zeros where the parent ends. Errors as of
 * {@link dynamicVhdxImage}, and `vhdx.parent-name-invalid`.
 */
export function differencingVhdxImage(
  source: BlockSource,
  changes: readonly ByteExtent[],
  parent: VhdxParent,
  options: VhdxImageOptions = {},
): VhdxImage {
  const { sizeBytes } = source;
  const blockBytes = blockBytesFor(sizeBytes, options.blockBytes);
  assertParentName('vhdx', parent);
  const changed = new Changes(changes, sizeBytes, LOGICAL_SECTOR_BYTES);
  // A block that became zero is present, too: for the state that says so in fewer bytes, libvhdi shows what the parent has.
  const [present, partial] = [UnitMap.ofExtents(changes, blockBytes), new UnitMap()];
  for (const { unit, count } of present.runsByRank(0, present.size)) {
    for (let block = unit; block < unit + count; block += 1) {
      if (!changed.cover(block * blockBytes, Math.min((block + 1) * blockBytes, sizeBytes))) partial.add(block);
    }
  }
  return layOut({ source, blockBytes, options, isFixed: false, parent: { file: parent, changed, partial }, present });
}

interface Plan {
  readonly source: BlockSource;
  readonly blockBytes: number;
  readonly options: VhdxImageOptions;
  readonly isFixed: boolean;
  /** Blocks that have a place in the file. */
  readonly present: UnitMap;
  readonly parent: {
    readonly file: VhdxParent;
    readonly changed: Changes;
    /** Those of the present blocks of which the parent keeps a part. */
    readonly partial: UnitMap;
  } | null;
}

function layOut({ source, blockBytes, options, isFixed, parent, present }: Plan): VhdxImage {
  const { sizeBytes } = source;
  const { diskId = randomUUID(), dataWriteId = randomUUID() } = options;
  const chunkRatio = chunkRatioOf(blockBytes, LOGICAL_SECTOR_BYTES);
  const bitmaps = new UnitMap();
  for (const { unit, count } of parent?.partial.runsByRank(0, Infinity) ?? []) {
    const first = Math.floor(unit / chunkRatio);
    bitmaps.add(first, Math.floor((unit + count - 1) / chunkRatio) - first + 1);
  }
  const entries = tableEntriesOf(Math.ceil(sizeBytes / blockBytes), chunkRatio, parent !== null);
  const tableBytes = mibUp(entries * 8);
  const bitmapsOffset = TABLE_OFFSET + tableBytes;
  const blocksOffset = bitmapsOffset + bitmaps.size * BITMAP_BLOCK_BYTES;
  const regions = encodeRegionTable({ offset: TABLE_OFFSET, length: tableBytes }, METADATA_REGION);

  const parts = [
    bytesPart(0, encodeFileIdentifier()),
    ...HEADER_OFFSETS.map((offset, index) => bytesPart(offset, encodeHeader(BigInt(index + 1), dataWriteId, LOG))),
    ...REGION_TABLE_OFFSETS.map((offset) => bytesPart(offset, regions)),
    bytesPart(
      METADATA_REGION.offset,
      encodeMetadata({ sizeBytes, blockBytes, diskId, isFixed, logicalSectorBytes: LOGICAL_SECTOR_BYTES, parent: parent?.file ?? null }),
    ),
    tablePart(TABLE_OFFSET, tableBytes, (page, pageOffset) => {
      const table = new TablePage(page, pageOffset / 8, chunkRatio);
      table.fillBlocks(present, (rank) => blocksOffset + rank * blockBytes);
      if (parent !== null) {
        table.mark(parent.partial, BLOCK_STATES.partiallyPresent);
        table.fillBitmaps(bitmaps, (rank) => bitmapsOffset + rank * BITMAP_BLOCK_BYTES);
      }
      return table.isFilled;
    }),
    ...(parent === null
      ? [unitsPart(blocksOffset, source, present, blockBytes)]
      : [
          tablePart(
            bitmapsOffset,
            bitmaps.size * BITMAP_BLOCK_BYTES,
            (page, pageOffset) => {
              for (const { unit } of bitmaps.runsByRank(pageOffset / BITMAP_BLOCK_BYTES, pageOffset / BITMAP_BLOCK_BYTES + 1)) {
                fillBitmap(page, parent.changed, unit);
              }
              return true;
            },
            BITMAP_BLOCK_BYTES,
          ),
          changedBlocksPart(blocksOffset, source, present, parent.changed, blockBytes),
        ]),
  ];
  return { ...imageOf(blocksOffset + present.size * blockBytes, parts), identity: { diskId, dataWriteId } };
}

/** The entries of one page of the block table: after each chunk's blocks comes its bitmap. */
class TablePage {
  isFilled = false;

  constructor(
    private readonly page: Buffer,
    private readonly firstEntry: number,
    private readonly chunkRatio: number,
  ) {}

  fillBlocks(blocks: UnitMap, offsetOf: (rank: number) => number): void {
    for (const { block, rank } of this.blocksHere(blocks)) this.write(this.entryOf(block), offsetOf(rank));
  }

  /** Changes the state of entries that are there. */
  mark(blocks: UnitMap, state: number): void {
    for (const { block } of this.blocksHere(blocks)) {
      const at = (this.entryOf(block) - this.firstEntry) * 8;
      this.page[at] = (this.page[at]! & ~7) | state;
    }
  }

  fillBitmaps(chunks: UnitMap, offsetOf: (rank: number) => number): void {
    const stride = this.chunkRatio + 1;
    const end = this.firstEntry + this.page.byteLength / 8;
    for (const { unit, rank, count } of chunks.runsByUnit(Math.floor(this.firstEntry / stride), Math.ceil(end / stride))) {
      for (let index = 0; index < count; index += 1) {
        const entry = (unit + index) * stride + this.chunkRatio;
        if (entry >= this.firstEntry && entry < end) this.write(entry, offsetOf(rank + index));
      }
    }
  }

  private *blocksHere(blocks: UnitMap): Iterable<{ block: number; rank: number }> {
    const from = this.blocksBefore(this.firstEntry);
    const until = this.blocksBefore(this.firstEntry + this.page.byteLength / 8);
    for (const { unit, rank, count } of blocks.runsByUnit(from, until)) {
      for (let index = 0; index < count; index += 1) yield { block: unit + index, rank: rank + index };
    }
  }

  private blocksBefore(entry: number): number {
    return entry - Math.floor(entry / (this.chunkRatio + 1));
  }

  private entryOf(block: number): number {
    return block + Math.floor(block / this.chunkRatio);
  }

  private write(entry: number, offset: number): void {
    const at = (entry - this.firstEntry) * 8;
    const mib = offset / MIB;
    this.page.writeUInt32LE((((mib & 0xfff) << 20) | BLOCK_STATES.fullyPresent) >>> 0, at);
    this.page.writeUInt32LE(Math.floor(mib / 4096), at + 4);
    this.isFilled = true;
  }
}

/** A chunk is what a bitmap of a MiB covers, one bit a sector, the first in the lowest bit of the first byte. */
function fillBitmap(bitmap: Buffer, changed: Changes, chunk: number): void {
  const chunkBytes = BITMAP_BLOCK_BYTES * 8 * LOGICAL_SECTOR_BYTES;
  const start = chunk * chunkBytes;
  for (const { offset, length } of changed.within(start, start + chunkBytes)) {
    const end = (offset - start + length) / LOGICAL_SECTOR_BYTES;
    let sector = (offset - start) / LOGICAL_SECTOR_BYTES;
    for (; sector < end && sector % 8 !== 0; sector += 1) bitmap[sector >> 3]! |= 1 << (sector & 7);
    const wholeUntil = sector + Math.floor(Math.max(0, end - sector) / 8) * 8;
    bitmap.fill(0xff, sector >> 3, wholeUntil >> 3);
    for (sector = wholeUntil; sector < end; sector += 1) bitmap[sector >> 3]! |= 1 << (sector & 7);
  }
}

function changedBlocksPart(offset: number, source: BlockSource, present: UnitMap, changed: Changes, blockBytes: number): ImagePart {
  async function* movesOf(from: number, until: number) {
    const [firstRank, endRank] = [Math.floor((from - offset) / blockBytes), Math.ceil((until - offset) / blockBytes)];
    for (const { unit, rank, count } of present.runsByRank(firstRank, endRank)) {
      const shift = offset + (rank - unit) * blockBytes;
      const [start, end] = [Math.max(unit * blockBytes, from - shift), Math.min((unit + count) * blockBytes, until - shift)];
      for (const change of changed.within(start, end)) yield* moved(dataExtents(source, change.offset, change.length), shift);
    }
  }
  return { offset, length: present.size * blockBytes, pieces: (from, until, memory) => copyPieces(source, movesOf(from, until), memory) };
}

function blockBytesFor(sizeBytes: number, wanted: number | undefined): number {
  if (sizeBytes > VHDX_DISK_SIZE_MAX_BYTES) throw vhdxError('too-large', 'a VHDX holds at most 64 TiB', { sizeBytes });
  if (sizeBytes <= 0 || sizeBytes % LOGICAL_SECTOR_BYTES !== 0) {
    throw vhdxError('size-invalid', 'a VHDX holds a whole number of sectors', { sizeBytes });
  }
  const blockBytes = wanted ?? (sizeBytes <= 2 * TIB ? 2 * MIB : 32 * MIB);
  if (blockBytes < MIB || blockBytes > 256 * MIB || !Number.isInteger(Math.log2(blockBytes))) {
    throw vhdxError('block-size-invalid', 'a block is a power of two from 1 to 256 MiB', { blockBytes });
  }
  return blockBytes;
}
