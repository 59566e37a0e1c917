import { MIB } from '#libs/kernel';
import type { BlockSource, ByteExtent, RandomAccessSource } from '../source/block-source.js';
import { BoundedSource } from '../source/bounded-source.js';
import { LayeredDisk, type DiskRun } from '../source/layered-disk.js';
import { PageCache } from '../source/page-cache.js';
import { meetsBlock, overlaps } from '../source/spans.js';
import { unpackCluster } from './qcow2-compression.js';
import { readQcow2Header } from './qcow2-header.js';
import { clustersPerTable, COMPRESSED, qcow2Error, type Qcow2Header } from './qcow2-layout.js';

export const QCOW2_CHAIN_DEPTH_MAX = 64;

export interface Qcow2Disk extends BlockSource {
  readonly clusterBytes: number;
  /** What the file names as its backing file, and the format it says that has. Only to be shown; nobody opens it. */
  readonly backing: { readonly name: string; readonly format: string | null } | null;
  /** Files below this one. */
  readonly depth: number;
}

const CACHE_BYTES = 8 * MIB;
/** Of an offset in an entry; the rest are flags. */
const PLACE_HIGH = 0x00ff_ffff;
const PLACE_LOW = 0xffff_fe00;
const IS_ZERO = 1;

/**
 * Opens a qcow2 of version 2 or 3, compressed or not, as its active state is; snapshots inside are not looked at. `below` is what the caller
 * knows to be its backing file, opened, and only used where the qcow2 names one; without it `qcow2.parent-missing` at the first read that needs it.
 * Codes: `qcow2.signature-missing`, `qcow2.truncated`, `qcow2.header-broken`, `qcow2.size-invalid`, `qcow2.unsupported`, `qcow2.encrypted`,
 * `qcow2.external-data`, `qcow2.marked-corrupt`, `qcow2.table-broken`, `qcow2.cluster-overlap`, `qcow2.chain-too-deep`. The tables of the
 * second level are checked when they are first used, so some come with a read, as does `qcow2.cluster-broken`.
 */
export async function openQcow2(source: RandomAccessSource, below?: BlockSource & { readonly depth?: number }): Promise<Qcow2Disk> {
  const file = new BoundedSource(source, 'qcow2');
  const header = await readQcow2Header(file);
  const tablePlaces = await readL1(file, header);
  const inOrder = tablePlaces.filter((place) => place !== 0);
  const taken = [{ offset: 0, length: header.clusterBytes }, { ...header.l1, length: header.l1.entries * 8 }, header.refcountTable];
  if (overlaps(taken, inOrder, header.clusterBytes)) throw qcow2Error('cluster-overlap', 'two tables of the qcow2 lie at one place');
  if (inOrder.length > 0 && inOrder.at(-1)! + header.clusterBytes > file.sizeBytes) throw file.truncated();
  const depth = header.backing === null || below === undefined ? 0 : (below.depth ?? 0) + 1;
  if (depth >= QCOW2_CHAIN_DEPTH_MAX) throw qcow2Error('chain-too-deep', `a chain holds at most ${QCOW2_CHAIN_DEPTH_MAX} files`);
  return new OpenQcow2Disk(file, header, tablePlaces, { taken, inOrder }, header.backing === null ? undefined : below, depth);
}

/** Where each L2 table lies, 0 for none. */
async function readL1(file: BoundedSource, { l1, clusterBytes }: Qcow2Header): Promise<Float64Array> {
  const places = new Float64Array(l1.entries);
  for (let first = 0; first < l1.entries; first += MIB / 8) {
    const page = await file.read(l1.offset + first * 8, Math.min(MIB, (l1.entries - first) * 8));
    for (let at = 0; at < page.byteLength; at += 8) places[first + at / 8] = placeAt(page, at, clusterBytes);
  }
  return places;
}

function placeAt(table: Buffer, at: number, clusterBytes: number): number {
  const place = (table.readUInt32BE(at) & PLACE_HIGH) * 2 ** 32 + ((table.readUInt32BE(at + 4) & PLACE_LOW) >>> 0);
  if (place % clusterBytes !== 0) throw qcow2Error('table-broken', 'a table of the qcow2 points where no cluster begins');
  return place;
}

interface Tables {
  readonly taken: readonly ByteExtent[];
  /** The places of the L2 tables, ascending. */
  readonly inOrder: Float64Array;
}

class OpenQcow2Disk extends LayeredDisk implements Qcow2Disk {
  readonly sizeBytes: number;
  readonly clusterBytes: number;
  readonly backing: Qcow2Disk['backing'];
  private readonly tables: PageCache;
  private readonly clusters: PageCache;
  /** Which L2 tables were checked, and how many clusters of the file those claim. */
  private readonly checked: Uint8Array;
  private claimed = 0;

  constructor(
    file: BoundedSource,
    private readonly header: Qcow2Header,
    private readonly tablePlaces: Float64Array,
    private readonly layout: Tables,
    below: BlockSource | undefined,
    readonly depth: number,
  ) {
    super(file, below);
    this.sizeBytes = header.sizeBytes;
    this.clusterBytes = header.clusterBytes;
    this.backing = header.backing;
    this.checked = new Uint8Array(tablePlaces.length);
    this.tables = new PageCache((index) => this.loadTable(index), Math.ceil(CACHE_BYTES / this.clusterBytes));
    this.clusters = new PageCache((cluster) => this.loadCompressed(cluster), 2);
  }

  protected async *runs(offset: number, length: number): AsyncIterable<DiskRun> {
    const end = offset + length;
    const perTable = clustersPerTable(this.clusterBytes);
    for (let at = offset; at < end;) {
      const cluster = Math.floor(at / this.clusterBytes);
      const index = Math.floor(cluster / perTable);
      const nothing = this.backing === null ? 'zero' : 'below';
      if (this.tablePlaces[index] === 0) {
        const runEnd = Math.min(end, (index + 1) * perTable * this.clusterBytes);
        yield { offset: at, length: runEnd - at, from: nothing };
        at = runEnd;
        continue;
      }
      const table = await this.tables.get(index);
      const clusterEnd = Math.min(end, (cluster + 1) * this.clusterBytes);
      yield { offset: at, length: clusterEnd - at, from: this.sourceOf(table, cluster, at, clusterEnd, nothing) };
      at = clusterEnd;
    }
  }

  protected belowMissing(): Error {
    return qcow2Error('parent-missing', 'a qcow2 with a backing file reads only over it');
  }

  private sourceOf(table: Buffer, cluster: number, at: number, end: number, nothing: 'zero' | 'below'): DiskRun['from'] {
    const entryAt = (cluster % clustersPerTable(this.clusterBytes)) * 8;
    const start = cluster * this.clusterBytes;
    if ((table.readUInt32BE(entryAt) & COMPRESSED) !== 0) {
      return async () => (await this.clusters.get(cluster)).subarray(at - start, end - start);
    }
    if (this.header.version === 3 && (table.readUInt32BE(entryAt + 4) & IS_ZERO) !== 0) return 'zero';
    const place = placeAt(table, entryAt, this.clusterBytes);
    return place === 0 ? nothing : place + at - start;
  }

  private async loadTable(index: number): Promise<Buffer> {
    const table = await this.file.read(this.tablePlaces[index]!, this.clusterBytes);
    if (this.checked[index] === 0) {
      this.checkTable(table);
      this.checked[index] = 1;
    }
    return table;
  }

  /**
   * Clusters of the disk lie each in a cluster of the file of its own, and in none of a table. Over all tables that is known by number: who claims
   * more clusters than the file has, claims some twice.
   */
  private checkTable(table: Buffer): void {
    const places = new Float64Array(table.byteLength / 8);
    let count = 0;
    for (let at = 0; at < table.byteLength; at += 8) {
      if ((table.readUInt32BE(at) & COMPRESSED) !== 0) continue;
      const place = placeAt(table, at, this.clusterBytes);
      if (place !== 0) places[count++] = place;
    }
    const starts = places.subarray(0, count);
    this.claimed += count;
    const isTwice =
      overlaps(this.layout.taken, starts, this.clusterBytes) ||
      starts.some((offset) => meetsBlock({ offset, length: this.clusterBytes }, this.layout.inOrder, this.clusterBytes)) ||
      this.claimed > Math.ceil(this.file.sizeBytes / this.clusterBytes);
    if (isTwice) throw qcow2Error('cluster-overlap', 'two clusters of the qcow2 lie at one place');
    if (count > 0 && starts[count - 1]! >= this.file.sizeBytes) throw this.file.truncated();
  }

  private async loadCompressed(cluster: number): Promise<Buffer> {
    const perTable = clustersPerTable(this.clusterBytes);
    const table = await this.tables.get(Math.floor(cluster / perTable));
    const entry = table.readBigUInt64BE((cluster % perTable) * 8);
    const placeBits = BigInt(62 - (Math.log2(this.clusterBytes) - 8));
    const offset = entry & ((1n << placeBits) - 1n);
    const sectors = Number((entry & ((1n << 62n) - 1n)) >> placeBits) + 1;
    if (offset >= BigInt(this.file.sizeBytes)) throw this.file.truncated();
    const place = Number(offset);
    // The last sector need not be whole: others' clusters, or the end of the file, may follow.
    const length = Math.min(sectors * 512 - (place % 512), this.file.sizeBytes - place);
    return unpackCluster(await this.file.read(place, length), this.header.compression, this.clusterBytes);
  }
}
