import { randomUUID } from 'node:crypto';
import { assert, idToBytes } from '#libs/kernel';
import { dataExtents, type BlockSource, type ByteExtent } from './block-source.js';
import { copyPieces, type DiskImage, type ImagePiece } from './disk-image.js';
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

export interface VhdParent extends VhdIdentity {
  /** The name of the parent's file, beside which the child will lie. */
  readonly fileName: string;
  /** Where a Windows host will find the parent; the bare file name if left out. */
  readonly absolutePath?: string;
}

export interface VhdImage extends DiskImage {
  readonly identity: VhdIdentity;
}

const BITMAP_BYTES = bitmapBytesOf(BLOCK_BYTES);
/** Each block's data begins on such a boundary, so that zeros inside it can be holes of the file. */
const ALIGNMENT_BYTES = 4096;
const PATH_CHARACTERS_MAX = 255;

/**
 * The disk as a dynamic VHD: blocks of 2 MiB, those without data left out. `vhd.too-large` above 2040 GiB, `vhd.size-invalid` when the disk is
 * not a number of sectors. `createdAt` is for people and for children of the image, and has no other effect.
 */
export async function dynamicVhdImage(source: BlockSource, createdAt: Date, uniqueId: string = randomUUID()): Promise<VhdImage> {
  assertVhdSize(source.sizeBytes);
  const allocated = new Set<number>();
  for await (const extent of dataExtents(source)) addBlocks(allocated, extent);
  const full = Buffer.alloc(BITMAP_BYTES, 0xff);
  return layOut(
    { sizeBytes: source.sizeBytes, identity: { uniqueId, createdAt }, parent: null, allocated },
    async function* (block, dataOffset) {
      const start = block * BLOCK_BYTES;
      yield { offset: dataOffset - BITMAP_BYTES, bytes: full };
      const length = Math.min(BLOCK_BYTES, source.sizeBytes - start);
      yield* copyPieces(source, dataExtents(source, start, length), dataOffset - start);
    },
  );
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
  assertVhdSize(source.sizeBytes);
  assertParent(parent);
  assertChanges(changes, source.sizeBytes);
  const byBlock = groupByBlock(changes);
  const plan = { sizeBytes: source.sizeBytes, identity: { uniqueId, createdAt }, parent, allocated: byBlock };
  return layOut(plan, async function* (block, dataOffset) {
    const changed = byBlock.get(block)!;
    const start = block * BLOCK_BYTES;
    yield { offset: dataOffset - BITMAP_BYTES, bytes: bitmapOf(changed, start) };
    for (const { offset, length } of changed) yield* copyPieces(source, dataExtents(source, offset, length), dataOffset - start);
  });
}

interface Plan {
  readonly sizeBytes: number;
  readonly identity: VhdIdentity;
  readonly parent: VhdParent | null;
  /** Keys are the blocks that the file holds, ascending. */
  readonly allocated: { readonly size: number; keys(): Iterable<number> };
}

function layOut(plan: Plan, blockPieces: (block: number, dataOffset: number) => AsyncIterable<ImagePiece>): VhdImage {
  const { sizeBytes, identity, parent, allocated } = plan;
  const tableEntries = Math.ceil(sizeBytes / BLOCK_BYTES);
  const tableOffset = FOOTER_BYTES + HEADER_BYTES;
  const locators = parent === null ? [] : locatorsOf(parent, tableOffset + sectorsUp(tableEntries * 4));
  const metadataEnd = locators.reduce((end, { path }) => end + sectorsUp(path.byteLength), tableOffset + sectorsUp(tableEntries * 4));
  const firstDataOffset = Math.ceil((metadataEnd + BITMAP_BYTES) / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
  const strideBytes = BLOCK_BYTES + ALIGNMENT_BYTES;
  const footerOffset = allocated.size === 0 ? metadataEnd : firstDataOffset + (allocated.size - 1) * strideBytes + BLOCK_BYTES;

  const parentFields = parent === null ? null : { ...fieldsOf(parent), name: parent.fileName };
  const header: VhdHeader = { tableOffset, tableEntries, blockBytes: BLOCK_BYTES, parent: parentFields };
  const type = parent === null ? 'dynamic' : 'differencing';
  const footer = encodeFooter({ type, sizeBytes, headerOffset: FOOTER_BYTES, ...fieldsOf(identity) });

  const pieces = async function* (): AsyncIterable<ImagePiece> {
    yield { offset: 0, bytes: footer };
    yield { offset: FOOTER_BYTES, bytes: encodeHeader(header, locators) };
    yield { offset: tableOffset, bytes: tableOf(allocated.keys(), tableEntries, firstDataOffset, strideBytes) };
    for (const { path, offset } of locators) yield { offset, bytes: path };
    let dataOffset = firstDataOffset;
    for (const block of allocated.keys()) {
      yield* blockPieces(block, dataOffset);
      dataOffset += strideBytes;
    }
    yield { offset: footerOffset, bytes: footer };
  };
  return { sizeBytes: footerOffset + FOOTER_BYTES, identity, pieces };
}

function tableOf(blocks: Iterable<number>, entries: number, firstDataOffset: number, strideBytes: number): Buffer {
  const table = Buffer.alloc(sectorsUp(entries * 4), 0xff);
  let position = firstDataOffset - BITMAP_BYTES;
  for (const block of blocks) {
    const sector = position / SECTOR_BYTES;
    assert(sector < UNALLOCATED, 'the block lies within reach of the table');
    table.writeUInt32BE(sector, block * 4);
    position += strideBytes;
  }
  return table;
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
function bitmapOf(changed: readonly ByteExtent[], blockStart: number): Buffer {
  const bitmap = Buffer.alloc(BITMAP_BYTES);
  for (const { offset, length } of changed) {
    const first = (offset - blockStart) / SECTOR_BYTES;
    for (let sector = first; sector < first + length / SECTOR_BYTES; sector += 1) bitmap[sector >> 3]! |= 0x80 >> (sector & 7);
  }
  return bitmap;
}

function groupByBlock(changes: readonly ByteExtent[]): Map<number, ByteExtent[]> {
  const byBlock = new Map<number, ByteExtent[]>();
  for (const { offset, length } of changes) {
    for (let at = offset; at < offset + length;) {
      const block = Math.floor(at / BLOCK_BYTES);
      const end = Math.min(offset + length, (block + 1) * BLOCK_BYTES);
      const part = { offset: at, length: end - at };
      const parts = byBlock.get(block);
      if (parts === undefined) byBlock.set(block, [part]);
      else parts.push(part);
      at = end;
    }
  }
  return byBlock;
}

function addBlocks(blocks: Set<number>, { offset, length }: ByteExtent): void {
  for (let block = Math.floor(offset / BLOCK_BYTES); block * BLOCK_BYTES < offset + length; block += 1) blocks.add(block);
}

function assertVhdSize(sizeBytes: number): void {
  if (sizeBytes > VHD_DISK_SIZE_MAX_BYTES) throw vhdError('too-large', 'a VHD holds at most 2040 GiB; take VHDX', { sizeBytes });
  if (sizeBytes <= 0 || sizeBytes % SECTOR_BYTES !== 0)
    throw vhdError('size-invalid', 'a VHD holds a whole number of sectors', { sizeBytes });
}

function assertParent({ fileName, absolutePath }: VhdParent): void {
  const isName = fileName.length > 0 && fileName.length <= PATH_CHARACTERS_MAX && !/[\\/:\0]/.test(fileName);
  if (!isName || (absolutePath ?? '').length > PATH_CHARACTERS_MAX) {
    throw vhdError('parent-name-invalid', 'the parent is a file name without a directory, of at most 255 characters');
  }
}

function assertChanges(changes: readonly ByteExtent[], sizeBytes: number): void {
  let end = 0;
  for (const { offset, length } of changes) {
    const isSectors = offset % SECTOR_BYTES === 0 && length % SECTOR_BYTES === 0 && length > 0;
    assert(
      isSectors && offset >= end && offset + length <= sizeBytes,
      'changes are ascending, disjoint, whole sectors and inside the disk',
    );
    end = offset + length;
  }
}
