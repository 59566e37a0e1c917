import { KIB, TIB } from '#libs/kernel';
import type { DiskImage } from '../image/disk-image.js';
import { bytesPart, imageOf, tablePart, unitsPart } from '../image/image-parts.js';
import { UnitMap } from '../image/unit-map.js';
import type { BlockSource } from '../source/block-source.js';
import {
  CLUSTER_BITS_MAX,
  CLUSTER_BITS_MIN,
  clustersPerTable,
  COPIED,
  encodeQcow2Header,
  L1_BYTES_MAX,
  QCOW2_DISK_SIZE_MAX_BYTES,
  qcow2Error,
  REFCOUNT_BYTES,
  SECTOR_BYTES,
} from './qcow2-layout.js';

export interface Qcow2ImageOptions {
  /** A power of two, 512 B–2 MiB. Default: 64 KiB, and 256 KiB for disks above 2 TiB. */
  readonly clusterBytes?: number;
}

/**
 * The disk as a qcow2 of version 3, not compressed: clusters without data are left out. `qcow2.too-large` above 64 TiB, or where the clusters are
 * too small for the disk; `qcow2.size-invalid` when the disk is not a number of sectors; `qcow2.cluster-size-invalid`.
 */
export async function qcow2Image(source: BlockSource, options: Qcow2ImageOptions = {}): Promise<DiskImage> {
  const { sizeBytes } = source;
  const clusterBytes = options.clusterBytes ?? (sizeBytes <= 2 * TIB ? 64 * KIB : 256 * KIB);
  assertSizes(sizeBytes, clusterBytes);
  const perTable = clustersPerTable(clusterBytes);
  const l1Entries = Math.ceil(sizeBytes / clusterBytes / perTable);
  if (l1Entries * 8 > L1_BYTES_MAX) throw qcow2Error('too-large', 'the clusters are too small for so large a disk', { clusterBytes });
  const data = await UnitMap.ofData(source, clusterBytes);
  const tables = new UnitMap();
  for (const { unit, count } of data.runsByRank(0, data.size)) {
    const first = Math.floor(unit / perTable);
    tables.add(first, Math.floor((unit + count - 1) / perTable) - first + 1);
  }

  const clustersOf = (lengthBytes: number): number => Math.ceil(lengthBytes / clusterBytes);
  const l1Clusters = clustersOf(l1Entries * 8);
  const { total, tableClusters, blocks } = planRefcounts(1 + l1Clusters + tables.size + data.size, clusterBytes);
  const refcountTable = { offset: clusterBytes, length: tableClusters * clusterBytes };
  const blocksOffset = refcountTable.offset + refcountTable.length;
  const l1Offset = blocksOffset + blocks * clusterBytes;
  const tablesOffset = l1Offset + l1Clusters * clusterBytes;
  const dataOffset = tablesOffset + tables.size * clusterBytes;

  return imageOf(total * clusterBytes, [
    bytesPart(0, encodeQcow2Header({ sizeBytes, clusterBytes, l1: { offset: l1Offset, entries: l1Entries }, refcountTable })),
    tablePart(refcountTable.offset, refcountTable.length, (page, pageOffset) => {
      const first = pageOffset / 8;
      const count = Math.min(blocks - first, page.byteLength / 8);
      for (let index = 0; index < count; index += 1) writePlace(page, index * 8, blocksOffset + (first + index) * clusterBytes, 0);
      return count > 0;
    }),
    tablePart(blocksOffset, blocks * clusterBytes, (page, pageOffset) => {
      const used = Math.min(page.byteLength, total * REFCOUNT_BYTES - pageOffset);
      if (used > 0) page.fill(Buffer.from([0, 1]), 0, used);
      return used > 0;
    }),
    tablePart(l1Offset, l1Clusters * clusterBytes, (page, pageOffset) =>
      fillTable(page, 0, tables, pageOffset / 8, page.byteLength / 8, (rank) => tablesOffset + rank * clusterBytes),
    ),
    tablePart(tablesOffset, tables.size * clusterBytes, (page, pageOffset) => {
      const firstRank = Math.floor(pageOffset / clusterBytes);
      for (const { unit, rank, count } of tables.runsByRank(firstRank, Math.ceil((pageOffset + page.byteLength) / clusterBytes))) {
        for (let index = 0; index < count; index += 1) {
          const tableAt = (rank + index) * clusterBytes - pageOffset;
          const skipped = Math.max(0, -tableAt) / 8;
          const entries = Math.min(clusterBytes, page.byteLength - tableAt) / 8 - skipped;
          const first = (unit + index) * perTable + skipped;
          fillTable(page, Math.max(0, tableAt), data, first, entries, (rank) => dataOffset + rank * clusterBytes);
        }
      }
      return true;
    }),
    unitsPart(dataOffset, source, data, clusterBytes),
  ]);
}

/** Writes the entries of the units `[first, first + entries)` to the page from `at` on; answers whether there are any. */
function fillTable(page: Buffer, at: number, units: UnitMap, first: number, entries: number, placeOf: (rank: number) => number): boolean {
  let isFilled = false;
  for (const { unit, rank, count } of units.runsByUnit(first, first + entries)) {
    for (let index = 0; index < count; index += 1) writePlace(page, at + (unit - first + index) * 8, placeOf(rank + index), COPIED);
    isFilled = true;
  }
  return isFilled;
}

function writePlace(page: Buffer, at: number, place: number, flags: number): void {
  page.writeUInt32BE((Math.floor(place / 2 ** 32) | flags) >>> 0, at);
  page.writeUInt32BE(place % 2 ** 32, at + 4);
}

/** Refcounts count the clusters that hold them, too. */
function planRefcounts(others: number, clusterBytes: number): { total: number; tableClusters: number; blocks: number } {
  let [total, tableClusters, blocks] = [others, 0, 0];
  for (;;) {
    blocks = Math.ceil((total * REFCOUNT_BYTES) / clusterBytes);
    tableClusters = Math.ceil((blocks * 8) / clusterBytes);
    if (others + tableClusters + blocks === total) return { total, tableClusters, blocks };
    total = others + tableClusters + blocks;
  }
}

function assertSizes(sizeBytes: number, clusterBytes: number): void {
  if (sizeBytes > QCOW2_DISK_SIZE_MAX_BYTES) throw qcow2Error('too-large', 'a qcow2 holds at most 64 TiB', { sizeBytes });
  if (sizeBytes <= 0 || sizeBytes % SECTOR_BYTES !== 0) {
    throw qcow2Error('size-invalid', 'a qcow2 holds a whole number of sectors', { sizeBytes });
  }
  const bits = Math.log2(clusterBytes);
  if (!Number.isInteger(bits) || bits < CLUSTER_BITS_MIN || bits > CLUSTER_BITS_MAX) {
    throw qcow2Error('cluster-size-invalid', 'a cluster is a power of two from 512 bytes to 2 MiB', { clusterBytes });
  }
}
