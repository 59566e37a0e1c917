import { randomUUID } from 'node:crypto';
import { assert, idToBytes } from '#libs/kernel';
import { Changes } from '../image/changes.js';
import type { DiskImage } from '../image/disk-image.js';
import { bytesPart, copyPieces, imageOf, moved, tablePart, type ImagePart, type Move } from '../image/image-parts.js';
import { assertParentName, type ParentFile } from '../image/parent-file.js';
import { diskPart } from '../image/raw-image.js';
import { UnitMap } from '../image/unit-map.js';
import { dataExtents, type BlockSource, type ByteExtent } from '../source/block-source.js';
import {
  bitmapBytesOf,
  BLOCK_BYTES,
  encodeFooter,
  encodeHeader,
  FOOTER_BYTES,
  HEADER_BYTES,
  SECTOR_BYTES,
  sectorsUp,
  toTimestampSeconds,
  UNALLOCATED,
  VHD_DISK_SIZE_MAX_BYTES,
  vhdError,
  type VhdHeader,
  type VhdLocator,
} from './vhd-layout.js';

/** By this a differencing VHD knows its parent. */
export interface VhdIdentity {
  /** A lower-case UUID. */
  readonly uniqueId: string;
  /** Whole seconds since 2000 are kept. */
  readonly createdAt: Date;
}

export interface VhdParent extends VhdIdentity, ParentFile {}

export interface VhdImage extends DiskImage {
  readonly identity: VhdIdentity;
}

const BITMAP_BYTES = bitmapBytesOf(BLOCK_BYTES);
/** Each block's data begins on such a boundary, so that zeros inside it can be holes of the file. */
const ALIGNMENT_BYTES = 4096;
const STRIDE_BYTES = BLOCK_BYTES + ALIGNMENT_BYTES;

/**
 * The disk as a fixed VHD: its bytes, and a footer. Saved to a file, its zeros are holes. `vhd.too-large` above 2040 GiB, `vhd.size-invalid` when
 * the disk is not a number of sectors. `createdAt` is for people and for children of the image, and has no other effect.
 */
export function fixedVhdImage(source: BlockSource, createdAt: Date, uniqueId: string = randomUUID()): VhdImage {
  const { sizeBytes } = source;
  assertVhdSize(sizeBytes);
  const identity = { uniqueId, createdAt };
  const footer = encodeFooter({ type: 'fixed', sizeBytes, headerOffset: null, ...fieldsOf(identity) });
  return { ...imageOf(sizeBytes + FOOTER_BYTES, [diskPart(source), bytesPart(sizeBytes, footer)]), identity };
}

/** The disk as a dynamic VHD: blocks of 2 MiB, those without data left out. Errors and `createdAt` as of {@link fixedVhdImage}. */
export async function dynamicVhdImage(source: BlockSource, createdAt: Date, uniqueId: string = randomUUID()): Promise<VhdImage> {
  const { sizeBytes } = source;
  assertVhdSize(sizeBytes);
  const full = Buffer.alloc(BITMAP_BYTES, 0xff);
  return layOut({
    sizeBytes,
    identity: { uniqueId, createdAt },
    parent: null,
    blocks: await UnitMap.ofData(source, BLOCK_BYTES),
    bitmapOf: () => full,
    movesOf: (from, until, shift) => moved(dataExtents(source, from, until - from), shift),
    source,
  });
}

/**
 * What changed between the parent and `source` as a differencing VHD. `changes` are ascending, disjoint, inside the disk and whole sectors; what
 * became zero counts as changed. Both disks have one size, else the child reads zeros where the parent ends.
 */
export function differencingVhdImage(
  source: BlockSource,
  changes: readonly ByteExtent[],
  parent: VhdParent,
  createdAt: Date,
  uniqueId: string = randomUUID(),
): VhdImage {
  const { sizeBytes } = source;
  assertVhdSize(sizeBytes);
  assertParentName('vhd', parent);
  const changed = new Changes(changes, sizeBytes, SECTOR_BYTES);
  return layOut({
    sizeBytes,
    identity: { uniqueId, createdAt },
    parent,
    blocks: UnitMap.ofExtents(changes, BLOCK_BYTES),
    bitmapOf: (start) => bitmapOf(changed.within(start, start + BLOCK_BYTES), start),
    async *movesOf(from, until, shift) {
      for (const { offset, length } of changed.within(from, until)) yield* moved(dataExtents(source, offset, length), shift);
    },
    source,
  });
}

interface Plan {
  readonly source: BlockSource;
  readonly sizeBytes: number;
  readonly identity: VhdIdentity;
  readonly parent: VhdParent | null;
  readonly blocks: UnitMap;
  /** Of the block that begins at `start` of the disk. */
  bitmapOf(start: number): Buffer;
  /** What the file holds of the disk's bytes `[from, until)`, to lie `shift` further on in the file. */
  movesOf(from: number, until: number, shift: number): AsyncIterable<Move>;
}

function layOut(plan: Plan): VhdImage {
  const { sizeBytes, identity, parent, blocks } = plan;
  const tableEntries = Math.ceil(sizeBytes / BLOCK_BYTES);
  const tableOffset = FOOTER_BYTES + HEADER_BYTES;
  const tableBytes = sectorsUp(tableEntries * 4);
  const locators = parent === null ? [] : locatorsOf(parent, tableOffset + tableBytes);
  const metadataEnd = locators.reduce((end, { path }) => end + sectorsUp(path.byteLength), tableOffset + tableBytes);
  const firstDataOffset = Math.ceil((metadataEnd + BITMAP_BYTES) / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
  const footerOffset = blocks.size === 0 ? metadataEnd : firstDataOffset + (blocks.size - 1) * STRIDE_BYTES + BLOCK_BYTES;

  const parentFields = parent === null ? null : { ...fieldsOf(parent), name: parent.fileName };
  const header: VhdHeader = { tableOffset, tableEntries, blockBytes: BLOCK_BYTES, parent: parentFields };
  const type = parent === null ? 'dynamic' : 'differencing';
  const footer = encodeFooter({ type, sizeBytes, headerOffset: FOOTER_BYTES, ...fieldsOf(identity) });

  const parts = [
    bytesPart(0, footer),
    bytesPart(FOOTER_BYTES, encodeHeader(header, locators)),
    tablePart(tableOffset, tableBytes, (page, pageOffset) => fillTable(page, pageOffset / 4, blocks, firstDataOffset)),
    ...locators.map(({ path, offset }) => bytesPart(offset, path)),
    blocksPart(plan, firstDataOffset),
    bytesPart(footerOffset, footer),
  ];
  return { ...imageOf(footerOffset + FOOTER_BYTES, parts), identity };
}

function fillTable(page: Buffer, firstEntry: number, blocks: UnitMap, firstDataOffset: number): true {
  page.fill(0xff);
  for (const { unit, rank, count } of blocks.runsByUnit(firstEntry, firstEntry + page.byteLength / 4)) {
    for (let index = 0; index < count; index += 1) {
      const sector = (firstDataOffset - BITMAP_BYTES + (rank + index) * STRIDE_BYTES) / SECTOR_BYTES;
      assert(sector < UNALLOCATED, 'the block lies within reach of the table');
      page.writeUInt32BE(sector, (unit + index - firstEntry) * 4);
    }
  }
  return true;
}

/** Each block after its bitmap. */
function blocksPart({ source, sizeBytes, blocks, bitmapOf, movesOf }: Plan, firstDataOffset: number): ImagePart {
  const offset = firstDataOffset - BITMAP_BYTES;
  return {
    offset,
    length: Math.max(0, blocks.size * STRIDE_BYTES - ALIGNMENT_BYTES + BITMAP_BYTES),
    async *pieces(from, until, memory) {
      const [firstRank, endRank] = [Math.floor((from - offset) / STRIDE_BYTES), Math.ceil((until - offset) / STRIDE_BYTES)];
      for (const run of blocks.runsByRank(firstRank, endRank)) {
        for (let index = 0; index < run.count; index += 1) {
          const start = (run.unit + index) * BLOCK_BYTES;
          const dataOffset = firstDataOffset + (run.rank + index) * STRIDE_BYTES;
          const shift = dataOffset - start;
          const [first, end] = [Math.max(start, from - shift), Math.min(start + BLOCK_BYTES, sizeBytes, until - shift)];
          yield { offset: dataOffset - BITMAP_BYTES, bytes: bitmapOf(start) };
          if (first < end) yield* copyPieces(source, movesOf(first, end, shift), memory);
        }
      }
    },
  };
}

function locatorsOf(parent: VhdParent, offset: number): VhdLocator[] {
  const relative = Buffer.from(`.\\${parent.fileName}`, 'utf16le');
  const absolute = Buffer.from(parent.absolutePath ?? parent.fileName, 'utf16le');
  return [
    { platform: 'W2ru', path: relative, offset },
    { platform: 'W2ku', path: absolute, offset: offset + sectorsUp(relative.byteLength) },
  ];
}

function fieldsOf({ uniqueId, createdAt }: VhdIdentity): { uniqueId: string; timestampSeconds: number } {
  return { uniqueId: idToBytes(uniqueId).toString('hex'), timestampSeconds: toTimestampSeconds(createdAt) };
}

/** One bit a sector, the first sector in the highest bit of the first byte. */
function bitmapOf(changed: Iterable<ByteExtent>, blockStart: number): Buffer {
  const bitmap = Buffer.alloc(BITMAP_BYTES);
  for (const { offset, length } of changed) {
    const first = (offset - blockStart) / SECTOR_BYTES;
    for (let sector = first; sector < first + length / SECTOR_BYTES; sector += 1) bitmap[sector >> 3]! |= 0x80 >> (sector & 7);
  }
  return bitmap;
}

function assertVhdSize(sizeBytes: number): void {
  if (sizeBytes > VHD_DISK_SIZE_MAX_BYTES) throw vhdError('too-large', 'a VHD holds at most 2040 GiB; take VHDX', { sizeBytes });
  if (sizeBytes <= 0 || sizeBytes % SECTOR_BYTES !== 0)
    throw vhdError('size-invalid', 'a VHD holds a whole number of sectors', { sizeBytes });
}
