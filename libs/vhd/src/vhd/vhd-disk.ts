import { assert, MIB } from '#libs/kernel';
import type { BlockSource, ByteExtent, RandomAccessSource } from '../source/block-source.js';
import { BoundedSource } from '../source/bounded-source.js';
import { displayText } from '../source/display-text.js';
import { LayeredDisk, runInBitmap, type DiskRun } from '../source/layered-disk.js';
import { overlaps } from '../source/spans.js';
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
  type ReadVhdHeader,
  type VhdFooter,
  type VhdHeader,
  type VhdType,
} from './vhd-layout.js';

export const VHD_CHAIN_DEPTH_MAX = 64;

export interface VhdDisk extends BlockSource {
  readonly type: VhdType;
  /** 32 hex digits. */
  readonly uniqueId: string;
  /** When the file was made, in seconds since 2000. */
  readonly timestampSeconds: number;
  /** Of differencing ones: by whom they want to be completed. The name and paths are only to be shown; nobody opens them. */
  readonly parent: { readonly uniqueId: string; readonly name: string; readonly paths: readonly string[] } | null;
  /** The `uniqueId` of this file, and of those below it. */
  readonly lineage: readonly string[];
  /** Files below this one. */
  readonly depth: number;
}

/** 2040 GiB in blocks of 512 KiB. */
const BLOCKS_MAX = 2 ** 22;
const LOCATOR_BYTES_MAX = 4096;

/**
 * Opens a fixed, dynamic or differencing VHD, the latter over its already opened parent, without which it ends in `vhd.parent-missing` at the first
 * read that needs it. Its size is the one the footer tells, as to Hyper-V, and not the geometry's. Codes: `vhd.footer-missing`,
 * `vhd.header-broken`, `vhd.checksum-mismatch`, `vhd.truncated`, `vhd.block-overlap`, `vhd.size-invalid`, `vhd.unsupported`,
 * `vhd.too-many-blocks`, `vhd.parent-mismatch`, `vhd.parent-modified`, `vhd.chain-too-deep`, `vhd.chain-cycle`.
 */
export async function openVhd(source: RandomAccessSource, parent?: VhdDisk): Promise<VhdDisk> {
  const file = new BoundedSource(source, 'vhd');
  const { footer, footerOffset } = await readFooter(file);
  if (footer.type === 'fixed') return openFixed(file, footer);
  const header = await readVhdHeader(file, footer);
  const table = await readTable(file, header, footer);
  const taken = [
    { offset: 0, length: FOOTER_BYTES },
    { offset: footer.headerOffset!, length: HEADER_BYTES },
    { offset: header.tableOffset, length: sectorsUp(table.length * 4) },
    ...(footerOffset === 0 ? [] : [{ offset: footerOffset, length: FOOTER_BYTES }]),
  ];
  assertDisjoint(file, table, header, taken);
  if (header.parent === null) return new SparseVhdDisk(file, footer, header, table, [], undefined);
  if (parent !== undefined) assertParent(header.parent, footer, parent);
  return new SparseVhdDisk(file, footer, header, table, await readLocatorPaths(file, header), parent);
}

/** The footer at the end counts; its copy at the beginning, at offset 0, steps in where that one is broken. */
export async function readFooter(file: BoundedSource): Promise<{ footer: VhdFooter; footerOffset: number }> {
  if (file.sizeBytes < FOOTER_BYTES) throw vhdError('footer-missing', 'there is no VHD footer');
  const footerOffset = Math.floor((file.sizeBytes - FOOTER_BYTES) / SECTOR_BYTES) * SECTOR_BYTES;
  try {
    return { footer: parseFooter(await file.read(footerOffset, FOOTER_BYTES)), footerOffset };
  } catch (error) {
    const copy = await file.read(0, FOOTER_BYTES);
    if (copy.toString('latin1', 0, 8) !== 'conectix') throw error;
    return { footer: parseFooter(copy), footerOffset: 0 };
  }
}

/** Of a VHD that is not fixed. */
export async function readVhdHeader(file: BoundedSource, footer: VhdFooter): Promise<ReadVhdHeader> {
  return parseHeader(await file.read(footer.headerOffset, HEADER_BYTES), footer);
}

function openFixed(file: BoundedSource, footer: VhdFooter): VhdDisk {
  const { sizeBytes, uniqueId, timestampSeconds } = footer;
  if (sizeBytes + FOOTER_BYTES > file.sizeBytes) throw file.truncated();
  return {
    type: 'fixed',
    sizeBytes,
    uniqueId,
    timestampSeconds,
    parent: null,
    lineage: [uniqueId],
    depth: 0,
    async read(offset, length) {
      assert(offset >= 0 && length >= 0 && offset + length <= sizeBytes, 'a read lies inside the disk');
      return file.read(offset, length);
    },
    extents: async (offset, length) => [{ offset, length, zero: false }],
  };
}

async function readTable(file: BoundedSource, header: VhdHeader, footer: VhdFooter): Promise<Uint32Array> {
  const entries = Math.ceil(footer.sizeBytes / header.blockBytes);
  if (entries > BLOCKS_MAX) throw vhdError('too-many-blocks', 'the VHD has more blocks than any such disk needs', { entries });
  if (header.tableOffset + entries * 4 > file.sizeBytes) throw file.truncated();
  const table = new Uint32Array(entries);
  for (let first = 0; first < entries; first += MIB / 4) {
    const page = await file.read(header.tableOffset + first * 4, Math.min(MIB, (entries - first) * 4));
    for (let at = 0; at < page.byteLength; at += 4) table[first + at / 4] = page.readUInt32BE(at);
  }
  return table;
}

function assertDisjoint(file: BoundedSource, table: Uint32Array, header: VhdHeader, taken: readonly ByteExtent[]): void {
  const stride = header.blockBytes + bitmapBytesOf(header.blockBytes);
  const starts = new Float64Array(table.reduce((count, sector) => count + (sector === UNALLOCATED ? 0 : 1), 0));
  let index = 0;
  for (const sector of table) if (sector !== UNALLOCATED) starts[index++] = sector * SECTOR_BYTES;
  if (overlaps(taken, starts, stride)) throw vhdError('block-overlap', 'two parts of the VHD lie at one place');
  if (starts.length > 0 && starts.at(-1)! + stride > file.sizeBytes) throw file.truncated();
}

/**
 * A child keeps when its parent was last written to. Windows takes that from the file system, so it may be later than what the parent's footer
 * says, but never earlier: then the parent was made anew after the child.
 */
function assertParent(wanted: NonNullable<VhdHeader['parent']>, footer: VhdFooter, parent: VhdDisk): void {
  if (parent.uniqueId !== wanted.uniqueId) {
    throw vhdError('parent-mismatch', 'this is not the parent that the differencing VHD was made over');
  }
  if (wanted.timestampSeconds !== 0 && parent.timestampSeconds > wanted.timestampSeconds) {
    throw vhdError('parent-modified', 'the parent was changed after the differencing VHD was made over it');
  }
  if (parent.lineage.includes(footer.uniqueId)) throw vhdError('chain-cycle', 'a VHD stands on itself');
  if (parent.depth + 1 >= VHD_CHAIN_DEPTH_MAX) throw vhdError('chain-too-deep', `a chain holds at most ${VHD_CHAIN_DEPTH_MAX} files`);
}

/** Only to be shown, and so what cannot be read is left out. */
async function readLocatorPaths(file: BoundedSource, header: ReadVhdHeader): Promise<string[]> {
  const paths: string[] = [];
  for (const { offset, length } of header.locators) {
    if (length > LOCATOR_BYTES_MAX || offset + length > file.sizeBytes) continue;
    paths.push(displayText((await file.read(offset, length)).toString('utf16le')));
  }
  return paths;
}

class SparseVhdDisk extends LayeredDisk implements VhdDisk {
  readonly type: VhdType;
  readonly sizeBytes: number;
  readonly uniqueId: string;
  readonly timestampSeconds: number;
  readonly parent: VhdDisk['parent'];
  readonly lineage: readonly string[];
  readonly depth: number;
  private lastBitmap: { readonly block: number; readonly bits: Buffer } | undefined;

  constructor(
    file: BoundedSource,
    footer: VhdFooter,
    private readonly header: VhdHeader,
    private readonly table: Uint32Array,
    paths: readonly string[],
    below: VhdDisk | undefined,
  ) {
    super(file, below);
    this.type = footer.type;
    this.sizeBytes = footer.sizeBytes;
    this.uniqueId = footer.uniqueId;
    this.timestampSeconds = footer.timestampSeconds;
    this.parent = header.parent === null ? null : { uniqueId: header.parent.uniqueId, name: displayText(header.parent.name), paths };
    this.lineage = [footer.uniqueId, ...(below?.lineage ?? [])];
    this.depth = (below?.depth ?? -1) + 1;
  }

  protected async *runs(offset: number, length: number): AsyncIterable<DiskRun> {
    const { blockBytes, parent } = this.header;
    const end = offset + length;
    for (let at = offset; at < end;) {
      const block = Math.floor(at / blockBytes);
      const blockStart = block * blockBytes;
      const blockEnd = Math.min(end, blockStart + blockBytes);
      const sector = this.table[block]!;
      const shift = sector * SECTOR_BYTES + bitmapBytesOf(blockBytes) - blockStart;
      if (sector === UNALLOCATED || parent === null) {
        const from = sector !== UNALLOCATED ? at + shift : parent === null ? 'zero' : 'below';
        yield { offset: at, length: blockEnd - at, from };
        at = blockEnd;
        continue;
      }
      const bits = await this.bitmap(block);
      const isSet = (index: number): boolean => (bits[index >> 3]! & (0x80 >> (index & 7))) !== 0;
      while (at < blockEnd) {
        const run = runInBitmap(isSet, SECTOR_BYTES, blockStart, at, blockEnd);
        yield { offset: at, length: run.end - at, from: run.isSet ? at + shift : 'below' };
        at = run.end;
      }
    }
  }

  protected belowMissing(): Error {
    return vhdError('parent-missing', 'a differencing VHD reads only over its parent');
  }

  private async bitmap(block: number): Promise<Buffer> {
    if (this.lastBitmap?.block !== block) {
      const bits = await this.file.read(this.table[block]! * SECTOR_BYTES, bitmapBytesOf(this.header.blockBytes));
      this.lastBitmap = { block, bits };
    }
    return this.lastBitmap!.bits;
  }
}
