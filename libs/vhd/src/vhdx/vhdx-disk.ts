import { MIB } from '#libs/kernel';
import type { BlockSource, RandomAccessSource } from '../source/block-source.js';
import { BoundedSource } from '../source/bounded-source.js';
import { LayeredDisk, runInBitmap, type DiskRun } from '../source/layered-disk.js';
import { BLOCK_STATES, vhdxError, type VhdxHeader } from './vhdx-layout.js';
import { replayLog } from './vhdx-log.js';
import { hasLog, readGeometry, readHeader, readRegions, type VhdxGeometry } from './vhdx-structure.js';
import { VhdxTable } from './vhdx-table.js';

export const VHDX_CHAIN_DEPTH_MAX = 64;

export interface VhdxDisk extends BlockSource {
  readonly type: 'fixed' | 'dynamic' | 'differencing';
  /** A lower-case UUID. */
  readonly diskId: string;
  /** By this a child knows it; another one after every change. A lower-case UUID. */
  readonly dataWriteId: string;
  readonly logicalSectorBytes: number;
  /** Of differencing ones: the `dataWriteId` by which they know their parent. The paths are only to be shown; nobody opens them. */
  readonly parent: { readonly dataWriteId: string; readonly paths: readonly string[] } | null;
  /** The `dataWriteId` of this file, and of those below it. */
  readonly lineage: readonly string[];
  /** Files below this one. */
  readonly depth: number;
}

/**
 * Opens a fixed, dynamic or differencing VHDX, as it is after its log was played; a differencing one over its already opened parent, without which
 * it ends in `vhdx.parent-missing` at the first read that needs it. Codes: `vhdx.signature-missing`, `vhdx.truncated`, `vhdx.header-broken`,
 * `vhdx.unsupported`, `vhdx.log-broken`, `vhdx.log-too-large`, `vhdx.region-broken`, `vhdx.region-overlap`, `vhdx.metadata-broken`,
 * `vhdx.size-invalid`, `vhdx.too-large`, `vhdx.table-broken`, `vhdx.block-overlap`; `vhdx.parent-mismatch` where the parent is another, or
 * was written to since; `vhdx.chain-too-deep`, `vhdx.chain-cycle`.
 */
export async function openVhdx(source: RandomAccessSource, parent?: VhdxDisk): Promise<VhdxDisk> {
  const { file, header } = await openPlayed(source);
  const regions = await readRegions(file, header);
  const geometry = await readGeometry(file, regions.metadata);
  const taken = [{ offset: 0, length: MIB }, { offset: header.logOffset, length: header.logBytes }, ...regions.all];
  const table = await VhdxTable.open(file, regions.table, geometry, taken);
  if (geometry.parent === null) return new OpenVhdxDisk(file, header, geometry, table, undefined);
  if (parent !== undefined) assertParent(geometry.parent.dataWriteIds, header.dataWriteId, parent);
  return new OpenVhdxDisk(file, header, geometry, table, parent);
}

/** Geometry alone, without the block table. */
export async function readVhdxGeometry(source: RandomAccessSource): Promise<VhdxGeometry & Pick<VhdxHeader, 'dataWriteId'>> {
  const { file, header } = await openPlayed(source);
  const geometry = await readGeometry(file, (await readRegions(file, header)).metadata);
  return { ...geometry, dataWriteId: header.dataWriteId };
}

async function openPlayed(source: RandomAccessSource): Promise<{ file: BoundedSource; header: VhdxHeader }> {
  const file = new BoundedSource(source, 'vhdx');
  const header = await readHeader(file);
  if (!hasLog(header)) return { file, header };
  return { file: new BoundedSource(await replayLog(file, header), 'vhdx'), header };
}

function assertParent(wantedIds: readonly string[], ownId: string, parent: VhdxDisk): void {
  if (!wantedIds.includes(parent.dataWriteId)) {
    throw vhdxError('parent-mismatch', 'this is not the parent that the differencing VHDX was made over, or it was written to since');
  }
  if (parent.lineage.includes(ownId)) throw vhdxError('chain-cycle', 'a VHDX stands on itself');
  if (parent.depth + 1 >= VHDX_CHAIN_DEPTH_MAX) throw vhdxError('chain-too-deep', `a chain holds at most ${VHDX_CHAIN_DEPTH_MAX} files`);
}

class OpenVhdxDisk extends LayeredDisk implements VhdxDisk {
  readonly type: VhdxDisk['type'];
  readonly sizeBytes: number;
  readonly diskId: string;
  readonly dataWriteId: string;
  readonly logicalSectorBytes: number;
  readonly parent: VhdxDisk['parent'];
  readonly lineage: readonly string[];
  readonly depth: number;
  private readonly blockBytes: number;
  private lastBitmap: { readonly block: number; readonly bits: Buffer } | undefined;

  constructor(
    file: BoundedSource,
    header: VhdxHeader,
    geometry: VhdxGeometry,
    private readonly table: VhdxTable,
    below: VhdxDisk | undefined,
  ) {
    super(file, below);
    const { parent, isFixed } = geometry;
    this.type = parent !== null ? 'differencing' : isFixed ? 'fixed' : 'dynamic';
    this.sizeBytes = geometry.sizeBytes;
    this.diskId = geometry.diskId;
    this.dataWriteId = header.dataWriteId;
    this.logicalSectorBytes = geometry.logicalSectorBytes;
    this.blockBytes = geometry.blockBytes;
    this.parent = parent === null ? null : { dataWriteId: parent.dataWriteIds[0]!, paths: parent.paths };
    this.lineage = [header.dataWriteId, ...(below?.lineage ?? [])];
    this.depth = (below?.depth ?? -1) + 1;
  }

  protected async *runs(offset: number, length: number): AsyncIterable<DiskRun> {
    const end = offset + length;
    for (let at = offset; at < end;) {
      const block = Math.floor(at / this.blockBytes);
      const blockStart = block * this.blockBytes;
      const blockEnd = Math.min(end, blockStart + this.blockBytes);
      const entry = await this.table.block(block);
      if (entry.state === BLOCK_STATES.partiallyPresent) {
        const bits = await this.bitmap(block);
        const isSet = (sector: number): boolean => (bits[sector >> 3]! & (1 << (sector & 7))) !== 0;
        while (at < blockEnd) {
          const run = runInBitmap(isSet, this.logicalSectorBytes, blockStart, at, blockEnd);
          yield { offset: at, length: run.end - at, from: run.isSet ? entry.offset + at - blockStart : 'below' };
          at = run.end;
        }
        continue;
      }
      yield { offset: at, length: blockEnd - at, from: this.sourceOf(entry.state, entry.offset + at - blockStart) };
      at = blockEnd;
    }
  }

  protected belowMissing(): Error {
    return vhdxError('parent-missing', 'a differencing VHDX reads only over its parent');
  }

  /** A block that was given back reads as zeros, also in a child: its parent's bytes would be those from before. */
  private sourceOf(state: number, place: number): DiskRun['from'] {
    if (state === BLOCK_STATES.fullyPresent) return place;
    return state === BLOCK_STATES.notPresent && this.parent !== null ? 'below' : 'zero';
  }

  private async bitmap(block: number): Promise<Buffer> {
    if (this.lastBitmap?.block !== block) this.lastBitmap = { block, bits: await this.table.bitmapOf(block) };
    return this.lastBitmap.bits;
  }
}
