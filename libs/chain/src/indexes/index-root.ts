import { bytesToId, idToBytes, MIB, type BranchId, type ChainId } from '#libs/kernel';
import { corrupt } from '../chain-errors.js';
import { discard } from '../discard.js';
import { BLOCKS_PER_DISK_MAX, FIRMWARE_DISK, GRAINS_PER_BLOCK } from '../limits.js';
import { asBuffer } from '../as-buffer.js';
import { BLOCKS_PER_PAGE } from './page.js';
import { PAGE_BYTES_MAX } from './page-codec.js';
import { deflate, HIGH, inflate, LOW, PlaneReader, PlaneWriter, wordsOf } from './planes.js';

const MAGIC = Buffer.from('HFX', 'ascii');
const VERSION = 1;
const HEADER_BYTES = 64;
const PAGES_PER_DISK = BLOCKS_PER_DISK_MAX / BLOCKS_PER_PAGE;
const UINT32_MAX = 0xffff_ffff;
const GRAINS_PER_DISK = BLOCKS_PER_DISK_MAX * GRAINS_PER_BLOCK;
export const PART_BYTES_MAX = 8 * MIB;
/** Of the table as it is written out; and of a root object, with the pages that it carries itself. */
const TABLE_BYTES_MAX = 64 * MIB;
export const ROOT_BYTES_MAX = 64 * MIB;

const [CYCLE_BYTES, DISK_BYTES, PAGE_BYTES, ZERO_BYTES, PART_BYTES] = [8, 10, 14, 10, 36];

/** Pages with content, as columns: ascending by disk and page, lying one after another in their parts. */
export interface PageDirectory {
  readonly disks: Uint16Array;
  readonly pages: Uint32Array;
  /** Bytes as stored. */
  readonly lengths: Uint32Array;
  readonly crcs: Uint32Array;
}

/** What an index knows beside its pages. */
export interface IndexRoot {
  readonly chainId: ChainId;
  /** On which the manifest at `last` lies. */
  readonly branchId: BranchId;
  readonly first: number;
  readonly last: number;
  /** Of every position from `first` to `last`: with what lies before and behind they must hash to the path of an authentic manifest. */
  readonly cycles: BigUint64Array;
  /** Disks that all of the layers have, with the smallest of their ends in grains; never the firmware's. */
  readonly ends: ReadonlyMap<number, number>;
  readonly directory: PageDirectory;
  /** Whole pages of zeros: disk, first page, count. */
  readonly zeroPages: readonly (readonly [disk: number, first: number, count: number])[];
  /** Objects that the pages lie in, one after another; none when they follow the table in the root itself. */
  readonly parts: readonly { readonly sha256: string; readonly sizeBytes: number }[];
}

/** The root object: header, table, and the pages themselves where there are no parts. */
export function encodeRoot(root: IndexRoot, inlinePages: readonly Buffer[]): Buffer {
  const { directory, ends, zeroPages, parts, cycles } = root;
  const table = new PlaneWriter(tableBytesOf(root.cycles.length, ends.size, directory.disks.length, zeroPages.length, parts.length));
  table.column(
    cycles.map((cycle, index) => (index === 0 ? cycle : cycle - cycles[index - 1]!)),
    8,
  );
  const byDisk = [...ends].sort(([a], [b]) => a - b);
  table.column(
    Uint16Array.from(byDisk, ([disk]) => disk),
    2,
  );
  table.column(
    BigUint64Array.from(byDisk, ([, end]) => BigInt(end)),
    8,
  );
  table.column(directory.disks, 2);
  table.column(directory.pages, 4);
  table.column(directory.lengths, 4);
  table.column(directory.crcs, 4);
  table.column(
    Uint16Array.from(zeroPages, ([disk]) => disk),
    2,
  );
  table.column(
    Uint32Array.from(zeroPages, ([, first]) => first),
    4,
  );
  table.column(
    Uint32Array.from(zeroPages, ([, , count]) => count),
    4,
  );
  for (const { sha256, sizeBytes } of parts) {
    table.hash(sha256);
    table.uint32(sizeBytes);
  }
  const stored = deflate(table.bytes);
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header[3] = VERSION;
  idToBytes(root.chainId).copy(header, 4);
  idToBytes(root.branchId).copy(header, 20);
  const sizes = [root.first, root.last, ends.size, directory.disks.length, zeroPages.length, parts.length, stored.length];
  for (const [index, size] of sizes.entries()) header.writeUInt32BE(size, 36 + index * 4);
  return Buffer.concat([header, stored, ...inlinePages]);
}

/** A root as it was read, and where in its own bytes the pages begin if it carries them. */
export interface DecodedRoot extends IndexRoot {
  readonly inlineAt: number;
}

/** Takes nothing on trust. `index.malformed`, `index.version-unsupported`, `index.foreign-chain`, `index.too-large`. */
export function decodeRoot(object: Uint8Array, expected: { readonly chainId: ChainId }): DecodedRoot {
  const bytes = asBuffer(object);
  if (bytes.length < HEADER_BYTES || !bytes.subarray(0, 3).equals(MAGIC)) throw malformed('an index begins with HFX');
  if (bytes[3] !== VERSION) throw corrupt('index.version-unsupported', `index version ${bytes[3]} is not known`);
  const chainId = bytesToId<ChainId>(bytes.subarray(4, 20));
  if (chainId !== expected.chainId) throw corrupt('index.foreign-chain', 'the index is of another chain');
  const branchId = bytesToId<BranchId>(bytes.subarray(20, 36));
  const size = (index: number): number => bytes.readUInt32BE(36 + index * 4);
  const [first, last, diskCount, pageCount, zeroCount, partCount, storedBytes] = [
    size(0),
    size(1),
    size(2),
    size(3),
    size(4),
    size(5),
    size(6),
  ];
  if (last < first) throw malformed('an index covers a layer at least');
  const tableBytes = tableBytesOf(last - first + 1, diskCount, pageCount, zeroCount, partCount);
  if (tableBytes > TABLE_BYTES_MAX) throw corrupt('index.too-large', 'the table of an index is larger than any reader takes');
  const inlineAt = HEADER_BYTES + storedBytes;
  if (inlineAt > bytes.length) throw malformed('an index is shorter than its table');
  const tableAsWritten = inflate(bytes.subarray(HEADER_BYTES, inlineAt), tableBytes);
  const table = new PlaneReader(tableAsWritten);
  table.expect(tableBytes);
  const cycles = ascendingCycles(table.column(new BigUint64Array(last - first + 1), 8));
  const ends = endsOf(table.column(new Uint16Array(diskCount), 2), table.column(new BigUint64Array(diskCount), 8));
  const directory: PageDirectory = {
    disks: table.column(new Uint16Array(pageCount), 2),
    pages: table.column(new Uint32Array(pageCount), 4),
    lengths: table.column(new Uint32Array(pageCount), 4),
    crcs: table.column(new Uint32Array(pageCount), 4),
  };
  checkDirectory(directory);
  const zeroPages = zeroPagesOf(
    table.column(new Uint16Array(zeroCount), 2),
    table.column(new Uint32Array(zeroCount), 4),
    table.column(new Uint32Array(zeroCount), 4),
  );
  const parts = Array.from({ length: partCount }, () => ({ sha256: table.hash(), sizeBytes: table.uint32() }));
  discard(tableAsWritten);
  checkParts(directory.lengths, parts, bytes.length - inlineAt);
  return { chainId, branchId, first, last, cycles, ends, directory, zeroPages, parts, inlineAt };
}

function tableBytesOf(cycles: number, disks: number, pages: number, zeros: number, parts: number): number {
  return cycles * CYCLE_BYTES + disks * DISK_BYTES + pages * PAGE_BYTES + zeros * ZERO_BYTES + parts * PART_BYTES;
}

/** Sums of the gaps, in their place. */
function ascendingCycles(gaps: BigUint64Array): BigUint64Array {
  const words = wordsOf(gaps);
  let [low, high] = [0, 0];
  for (let index = 0; index < words.length; index += 2) {
    const [lowGap, highGap] = [words[index + LOW]!, words[index + HIGH]!];
    low += lowGap;
    high += highGap;
    if (low > UINT32_MAX) {
      low -= UINT32_MAX + 1;
      high += 1;
    }
    if ((lowGap === 0 && highGap === 0) || high > UINT32_MAX) throw malformed('the cycles of an index do not ascend');
    words[index + LOW] = low;
    words[index + HIGH] = high;
  }
  return gaps;
}

function endsOf(disks: Uint16Array, ends: BigUint64Array): Map<number, number> {
  const result = new Map<number, number>();
  let before = -1;
  for (const [index, disk] of disks.entries()) {
    const end = ends[index]!;
    if (disk <= before || disk === FIRMWARE_DISK || end === 0n || end > BigInt(GRAINS_PER_DISK))
      throw malformed('the disks of an index are out of bounds');
    result.set(disk, Number(end));
    before = disk;
  }
  return result;
}

function checkDirectory({ disks, pages, lengths }: PageDirectory): void {
  for (let index = 0; index < disks.length; index += 1) {
    const isNext =
      index === 0 || disks[index]! > disks[index - 1]! || (disks[index] === disks[index - 1] && pages[index]! > pages[index - 1]!);
    const length = lengths[index]!;
    if (!isNext || pages[index]! >= PAGES_PER_DISK || length === 0 || length > PAGE_BYTES_MAX) {
      throw malformed('the pages of an index do not ascend, or are out of bounds');
    }
  }
}

function zeroPagesOf(disks: Uint16Array, firsts: Uint32Array, counts: Uint32Array): (readonly [number, number, number])[] {
  const ranges: (readonly [number, number, number])[] = [];
  for (const [index, disk] of disks.entries()) {
    const [first, count] = [firsts[index]!, counts[index]!];
    const before = ranges.at(-1);
    const isBehind = before === undefined || before[0] < disk || (before[0] === disk && before[1] + before[2] < first);
    if (!isBehind || count === 0 || first + count > PAGES_PER_DISK) throw malformed('the zero pages of an index do not ascend, or touch');
    ranges.push([disk, first, count]);
  }
  return ranges;
}

/** Every page lies whole in one part, each part is filled by its pages, and nothing is left over. */
function checkParts(lengths: Uint32Array, parts: IndexRoot['parts'], inlineBytes: number): void {
  const sizes = parts.length === 0 ? [inlineBytes] : parts.map(({ sizeBytes }) => sizeBytes);
  if (parts.length > 0 && inlineBytes !== 0) throw malformed('an index with parts carries no pages itself');
  let page = 0;
  for (const sizeBytes of sizes) {
    let filled = 0;
    while (page < lengths.length && filled + lengths[page]! <= sizeBytes) filled += lengths[page++]!;
    const isRight = filled === sizeBytes && (parts.length === 0 || (sizeBytes > 0 && sizeBytes <= PART_BYTES_MAX));
    if (!isRight) throw malformed('the parts of an index are not filled by its pages');
  }
  if (page !== lengths.length) throw malformed('the pages of an index do not fit into its parts');
}

function malformed(message: string): Error {
  return corrupt('index.malformed', message);
}
