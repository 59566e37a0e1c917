import { assert } from '#libs/kernel';
import type { BlockSource, DiskExtent, RandomAccessSource } from '../source/block-source.js';
import { BoundedSource, overlaps } from '../source/bounded-source.js';
import {
  bitmapBytesOf,
  FOOTER_BYTES,
  HEADER_BYTES,
  parseFooter,
  parseHeader,
  SECTOR_BYTES,
  sectorsUp,
  UNALLOCATED,
  vhdError,
  type VhdFooter,
  type VhdHeader,
  type VhdType,
} from './vhd-layout.js';

export const VHD_CHAIN_DEPTH_MAX = 64;

export interface VhdDisk extends BlockSource {
  readonly type: VhdType;
  /** 32 hex digits. */
  readonly uniqueId: string;
  /** Of differencing ones: by whom they want to be completed. The name is only to be shown; nobody opens it. */
  readonly parent: { readonly uniqueId: string; readonly name: string } | null;
  /** Files below this one. */
  readonly depth: number;
}

/**
 * Opens a fixed, dynamic or differencing VHD, the latter over its already opened parent; without it `vhd.parent-missing` at the first read.
 * Codes: `vhd.footer-missing`, `vhd.header-broken`, `vhd.checksum-mismatch`, `vhd.truncated`, `vhd.block-overlap`, `vhd.size-invalid`,
 * `vhd.unsupported`, `vhd.parent-mismatch`, `vhd.chain-too-deep`.
 */
export async function openVhd(source: RandomAccessSource, parent?: VhdDisk): Promise<VhdDisk> {
  const file = new BoundedSource(source, 'vhd');
  const footer = await readFooter(file);
  if (footer.type === 'fixed') return openFixed(file, footer);
  const header = parseHeader(await file.read(footer.headerOffset, HEADER_BYTES), footer);
  const table = await readTable(file, header, footer);
  assertDisjoint(file, table, header, footer);
  if (header.parent !== null && parent !== undefined) assertParent(header.parent.uniqueId, parent);
  return new SparseVhdDisk(file, footer, header, table, header.parent === null ? undefined : parent);
}

/** The footer at the end counts; its copy at the beginning steps in where that one is broken. */
export async function readFooter(file: BoundedSource): Promise<VhdFooter> {
  if (file.sizeBytes < FOOTER_BYTES) throw vhdError('footer-missing', 'there is no VHD footer');
  const endOffset = Math.floor((file.sizeBytes - FOOTER_BYTES) / SECTOR_BYTES) * SECTOR_BYTES;
  try {
    return parseFooter(await file.read(endOffset, FOOTER_BYTES));
  } catch (error) {
    const copy = await file.read(0, FOOTER_BYTES);
    if (copy.toString('latin1', 0, 8) !== 'conectix') throw error;
    return parseFooter(copy);
  }
}

function openFixed(file: BoundedSource, footer: VhdFooter): VhdDisk {
  if (footer.sizeBytes + FOOTER_BYTES > file.sizeBytes) throw file.truncated();
  return {
    type: 'fixed',
    sizeBytes: footer.sizeBytes,
    uniqueId: footer.uniqueId,
    parent: null,
    depth: 0,
    read: (offset, length) => file.read(offset, length),
    extents: async (offset, length) => [{ offset, length, zero: false }],
  };
}

async function readTable(file: BoundedSource, header: VhdHeader, footer: VhdFooter): Promise<Uint32Array> {
  const entries = Math.ceil(footer.sizeBytes / header.blockBytes);
  const bytes = await file.read(header.tableOffset, entries * 4);
  const table = new Uint32Array(entries);
  for (let block = 0; block < entries; block += 1) table[block] = bytes.readUInt32BE(block * 4);
  return table;
}

function assertDisjoint(file: BoundedSource, table: Uint32Array, header: VhdHeader, footer: VhdFooter): void {
  const stride = header.blockBytes + bitmapBytesOf(header.blockBytes);
  const starts = Float64Array.from(
    table.filter((sector) => sector !== UNALLOCATED),
    (sector) => sector * SECTOR_BYTES,
  );
  const spans = [
    { offset: 0, length: FOOTER_BYTES },
    { offset: footer.headerOffset!, length: HEADER_BYTES },
    { offset: header.tableOffset, length: sectorsUp(table.length * 4) },
  ];
  if (overlaps(spans, starts, stride)) throw vhdError('block-overlap', 'two parts of the VHD lie at one place');
  if (starts.length > 0 && starts.at(-1)! + stride > file.sizeBytes) throw file.truncated();
}

function assertParent(wantedId: string, parent: VhdDisk): void {
  if (parent.uniqueId !== wantedId) throw vhdError('parent-mismatch', 'this is not the parent that the differencing VHD was made over');
  if (parent.depth + 1 >= VHD_CHAIN_DEPTH_MAX) throw vhdError('chain-too-deep', `a chain holds at most ${VHD_CHAIN_DEPTH_MAX} files`);
}

class SparseVhdDisk implements VhdDisk {
  readonly type: VhdType;
  readonly sizeBytes: number;
  readonly uniqueId: string;
  readonly parent: { readonly uniqueId: string; readonly name: string } | null;
  readonly depth: number;
  private lastBitmap: { block: number; bits: Buffer } | undefined;

  constructor(
    private readonly file: BoundedSource,
    footer: VhdFooter,
    private readonly header: VhdHeader,
    private readonly table: Uint32Array,
    private readonly below: VhdDisk | undefined,
  ) {
    this.type = footer.type;
    this.sizeBytes = footer.sizeBytes;
    this.uniqueId = footer.uniqueId;
    this.parent = header.parent === null ? null : { uniqueId: header.parent.uniqueId, name: header.parent.name };
    this.depth = (below?.depth ?? -1) + 1;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    assert(offset >= 0 && length >= 0 && offset + length <= this.sizeBytes, 'a read lies inside the disk');
    const result = Buffer.alloc(length);
    for await (const part of this.parts(offset, length)) {
      if (part.fileOffset !== null) result.set(await this.file.read(part.fileOffset, part.length), part.offset - offset);
      else if (this.header.parent !== null) result.set(await this.readBelow(part.offset, part.length), part.offset - offset);
    }
    return result;
  }

  async extents(offset: number, length: number): Promise<DiskExtent[]> {
    const found: DiskExtent[] = [];
    for await (const part of this.parts(offset, length)) {
      if (part.fileOffset !== null) found.push({ offset: part.offset, length: part.length, zero: false });
      else if (this.header.parent !== null) found.push(...(await this.extentsBelow(part.offset, part.length)));
    }
    return found;
  }

  /** The range in runs that lie in this file (with their place) or not (null). */
  private async *parts(offset: number, length: number): AsyncIterable<{ offset: number; length: number; fileOffset: number | null }> {
    const { blockBytes, parent } = this.header;
    const end = offset + length;
    for (let at = offset; at < end;) {
      const block = Math.floor(at / blockBytes);
      const blockEnd = Math.min(end, (block + 1) * blockBytes);
      const sector = this.table[block]!;
      if (sector === UNALLOCATED) {
        yield { offset: at, length: blockEnd - at, fileOffset: null };
        at = blockEnd;
        continue;
      }
      const dataOffset = sector * SECTOR_BYTES + bitmapBytesOf(blockBytes) - block * blockBytes;
      const bits = parent === null ? null : await this.bitmap(block);
      while (at < blockEnd) {
        const run = bits === null ? { isHere: true, end: blockEnd } : runAt(bits, block * blockBytes, at, blockEnd);
        yield { offset: at, length: run.end - at, fileOffset: run.isHere ? dataOffset + at : null };
        at = run.end;
      }
    }
  }

  private async bitmap(block: number): Promise<Buffer> {
    if (this.lastBitmap?.block !== block) {
      const bits = await this.file.read(this.table[block]! * SECTOR_BYTES, bitmapBytesOf(this.header.blockBytes));
      this.lastBitmap = { block, bits };
      return bits;
    }
    return this.lastBitmap.bits;
  }

  private async readBelow(offset: number, length: number): Promise<Uint8Array> {
    const below = this.requireBelow();
    const inside = Math.max(0, Math.min(length, below.sizeBytes - offset));
    return inside === 0 ? Buffer.alloc(0) : below.read(offset, inside);
  }

  private async extentsBelow(offset: number, length: number): Promise<DiskExtent[]> {
    const below = this.requireBelow();
    const inside = Math.max(0, Math.min(length, below.sizeBytes - offset));
    return inside === 0 ? [] : below.extents(offset, inside);
  }

  private requireBelow(): VhdDisk {
    if (this.below === undefined) throw vhdError('parent-missing', 'a differencing VHD reads only over its parent');
    return this.below;
  }
}

/** From `at` on: whether the sector's bit is set, and where the next sector differs. */
function runAt(bits: Buffer, blockStart: number, at: number, blockEnd: number): { isHere: boolean; end: number } {
  const isSet = (sector: number): boolean => (bits[sector >> 3]! & (0x80 >> (sector & 7))) !== 0;
  const first = Math.floor((at - blockStart) / SECTOR_BYTES);
  const limit = Math.ceil((blockEnd - blockStart) / SECTOR_BYTES);
  const isHere = isSet(first);
  let sector = first + 1;
  while (sector < limit && isSet(sector) === isHere) sector += 1;
  return { isHere, end: Math.min(blockEnd, blockStart + sector * SECTOR_BYTES) };
}
