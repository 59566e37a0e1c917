import { readWithin, type DiskSource } from './disk-source.js';

export interface Partition {
  /** As the guest's kernel counts: 1 … 4 for those of an MBR itself, 5 and up for logical ones. */
  readonly number: number;
  readonly offset: number;
  readonly length: number;
}

const SECTOR = 512;
const GPT_ENTRIES_MAX = 1024;
const GPT_ENTRY_BYTES_MAX = 4096;
const LOGICAL_MAX = 64;
const EXTENDED: ReadonlySet<number> = new Set([0x05, 0x0f, 0x85]);
const PROTECTIVE = 0xee;

/**
 * The partitions of a disk, by GPT or MBR; none where there is no table, as on a disk that is one file system. A guest wrote this: whatever lies outside the
 * disk or makes no sense is left out, and nothing is read without end.
 */
export async function readPartitions(disk: DiskSource): Promise<Partition[]> {
  const head = await readWithin(disk, 0, 2 * SECTOR);
  if (head.length < 2 * SECTOR || head.readUInt16LE(510) !== 0xaa55 || looksLikeBootSector(head)) return [];
  const entries = [0, 1, 2, 3].map((at) => mbrEntry(head, at));
  if (entries.some(({ type }) => type === PROTECTIVE)) return readGpt(disk, head.subarray(SECTOR));
  const found: Partition[] = [];
  for (const [at, { type, first, count }] of entries.entries()) {
    if (EXTENDED.has(type)) found.push(...(await readLogical(disk, first)));
    else if (type !== 0) found.push({ number: at + 1, offset: first * SECTOR, length: count * SECTOR });
  }
  return inside(found, disk);
}

/** FAT and NTFS begin with a boot sector that ends like an MBR. */
function looksLikeBootSector(head: Buffer): boolean {
  const isFat = head.toString('latin1', 54, 57) === 'FAT' || head.toString('latin1', 82, 87) === 'FAT32';
  return isFat || ['NTFS    ', 'EXFAT   '].includes(head.toString('latin1', 3, 11));
}

function mbrEntry(sector: Buffer, at: number): { type: number; first: number; count: number } {
  const entry = sector.subarray(446 + 16 * at, 446 + 16 * (at + 1));
  return { type: entry[4]!, first: entry.readUInt32LE(8), count: entry.readUInt32LE(12) };
}

async function readGpt(disk: DiskSource, header: Buffer): Promise<Partition[]> {
  if (header.toString('latin1', 0, 8) !== 'EFI PART') return [];
  const entriesAt = Number(header.readBigUInt64LE(72)) * SECTOR;
  const [count, entryBytes] = [header.readUInt32LE(80), header.readUInt32LE(84)];
  if (entryBytes < 128 || entryBytes > GPT_ENTRY_BYTES_MAX) return [];
  const table = await readWithin(disk, entriesAt, Math.min(count, GPT_ENTRIES_MAX) * entryBytes);
  const found: Partition[] = [];
  for (let at = 0; (at + 1) * entryBytes <= table.length; at += 1) {
    const entry = table.subarray(at * entryBytes, (at + 1) * entryBytes);
    if (entry.subarray(0, 16).every((byte) => byte === 0)) continue;
    const [first, last] = [Number(entry.readBigUInt64LE(32)), Number(entry.readBigUInt64LE(40))];
    found.push({ number: at + 1, offset: first * SECTOR, length: (last - first + 1) * SECTOR });
  }
  return inside(found, disk);
}

/** A chain of tables, each with one partition and the place of the next table. */
async function readLogical(disk: DiskSource, extendedFirst: number): Promise<Partition[]> {
  const found: Partition[] = [];
  const seen = new Set<number>();
  for (let table = extendedFirst; !seen.has(table) && seen.size < LOGICAL_MAX;) {
    seen.add(table);
    const sector = await readWithin(disk, table * SECTOR, SECTOR);
    if (sector.length < SECTOR || sector.readUInt16LE(510) !== 0xaa55) break;
    const [partition, next] = [mbrEntry(sector, 0), mbrEntry(sector, 1)];
    if (partition.type !== 0)
      found.push({ number: 5 + found.length, offset: (table + partition.first) * SECTOR, length: partition.count * SECTOR });
    if (!EXTENDED.has(next.type)) break;
    table = extendedFirst + next.first;
  }
  return found;
}

function inside(partitions: readonly Partition[], { sizeBytes }: DiskSource): Partition[] {
  return partitions.filter(({ offset, length }) => offset > 0 && length > 0 && offset + length <= sizeBytes);
}
