import { KIB, MIB, TIB } from '#libs/kernel';
import type { ByteExtent } from '../source/block-source.js';
import type { BoundedSource } from '../source/bounded-source.js';
import { PageCache } from '../source/page-cache.js';
import { Claims } from '../source/spans.js';
import { BITMAP_BLOCK_BYTES, BLOCK_STATES, chunkRatioOf, tableEntriesOf, vhdxError, type Region } from './vhdx-layout.js';
import type { VhdxGeometry } from './vhdx-structure.js';

const PAGE_BYTES = 64 * KIB;
const PAGES_MAX = 64;
/** A disk of 64 TiB, and as much again. */
const FILE_BYTES_MAX = 128 * TIB;
const EMPTY_PAGE = Buffer.alloc(PAGE_BYTES);

export interface TableEntry {
  readonly state: number;
  readonly offset: number;
}

/** The block allocation table: checked as a whole once, then read by pages. */
export class VhdxTable {
  private readonly chunkRatio: number;
  private readonly entries: number;
  private readonly pages: PageCache;

  private constructor(
    private readonly file: BoundedSource,
    private readonly region: Region,
    private readonly geometry: VhdxGeometry,
  ) {
    const { sizeBytes, blockBytes, logicalSectorBytes, parent } = geometry;
    this.chunkRatio = chunkRatioOf(blockBytes, logicalSectorBytes);
    this.entries = tableEntriesOf(Math.ceil(sizeBytes / blockBytes), this.chunkRatio, parent !== null);
    this.pages = new PageCache((page) => this.loadPage(page), PAGES_MAX);
  }

  /** `taken` is what else lies in the file. `vhdx.table-broken`, `vhdx.block-overlap`, `vhdx.truncated`, `vhdx.too-large`. */
  static async open(file: BoundedSource, region: Region, geometry: VhdxGeometry, taken: readonly ByteExtent[]): Promise<VhdxTable> {
    const table = new VhdxTable(file, region, geometry);
    if (table.entries * 8 > region.length) throw vhdxError('table-broken', 'the block table is shorter than the disk needs');
    if (file.sizeBytes > FILE_BYTES_MAX) throw vhdxError('too-large', 'no disk of 64 TiB needs so long a file');
    await table.check(taken);
    return table;
  }

  block(block: number): Promise<TableEntry> {
    return this.entry(block + Math.floor(block / this.chunkRatio));
  }

  /** The part of the sector bitmap that covers the block; the first sector is the lowest bit of the first byte. */
  async bitmapOf(block: number): Promise<Buffer> {
    const { offset } = await this.entry(this.bitmapEntryOf(Math.floor(block / this.chunkRatio)));
    const length = BITMAP_BLOCK_BYTES / this.chunkRatio;
    return this.file.read(offset + (block % this.chunkRatio) * length, length);
  }

  private async entry(index: number): Promise<TableEntry> {
    const at = index * 8;
    const page = await this.pages.get(Math.floor(at / PAGE_BYTES));
    return entryAt(page, at % PAGE_BYTES);
  }

  private loadPage(page: number): Promise<Buffer> {
    const at = page * PAGE_BYTES;
    return this.file.read(this.region.offset + at, Math.min(PAGE_BYTES, this.entries * 8 - at));
  }

  private bitmapEntryOf(chunk: number): number {
    return chunk * (this.chunkRatio + 1) + this.chunkRatio;
  }

  /** No two things at one place, nothing beyond the end, and a bitmap wherever a block needs one. */
  private async check(taken: readonly ByteExtent[]): Promise<void> {
    const { blockBytes, parent } = this.geometry;
    const claims = new Claims(Math.ceil(this.file.sizeBytes / MIB));
    const claim = (offset: number, length: number): void => {
      if (offset + length > this.file.sizeBytes) throw this.file.truncated();
      if (!claims.claim(offset / MIB, length / MIB)) throw vhdxError('block-overlap', 'two parts of the VHDX lie at one place');
    };
    for (const { offset, length } of taken) claim(offset, length);
    let isBitmapNeeded = false;
    for (let first = 0; first < this.entries; first += PAGE_BYTES / 8) {
      const page = await this.loadPage((first * 8) / PAGE_BYTES);
      if (!isBitmapNeeded && page.equals(EMPTY_PAGE.subarray(0, page.byteLength))) continue;
      for (let at = 0; at < page.byteLength; at += 8) {
        const { state, offset } = entryAt(page, at);
        const isBitmap = (first + at / 8) % (this.chunkRatio + 1) === this.chunkRatio;
        if (!isBitmap) {
          if (!isStateOf(state, parent !== null)) throw vhdxError('table-broken', 'a block is in a state that is none', { state });
          if (state >= BLOCK_STATES.fullyPresent) claim(offset, blockBytes);
          isBitmapNeeded ||= state === BLOCK_STATES.partiallyPresent;
        } else if (parent !== null) {
          if (state === BLOCK_STATES.fullyPresent) claim(offset, BITMAP_BLOCK_BYTES);
          else if (isBitmapNeeded || state !== 0) throw vhdxError('table-broken', 'a sector bitmap is missing', { state });
          isBitmapNeeded = false;
        }
      }
    }
  }
}

function isStateOf(state: number, isDifferencing: boolean): boolean {
  return (
    state <= BLOCK_STATES.unmapped || state === BLOCK_STATES.fullyPresent || (isDifferencing && state === BLOCK_STATES.partiallyPresent)
  );
}

function entryAt(page: Buffer, at: number): TableEntry {
  const low = page.readUInt32LE(at);
  return { state: low & 7, offset: ((low >>> 20) + page.readUInt32LE(at + 4) * 4096) * MIB };
}
