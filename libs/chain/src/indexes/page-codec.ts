import { corrupt } from '../chain-errors.js';
import { discard } from '../discard.js';
import { SEGMENT_BYTES_MAX } from '../limits.js';
import { RECORD_OVERHEAD_BYTES, SEGMENT_HEADER_BYTES } from '../segment/segment-layout.js';
import { BLOCKS_PER_PAGE, Page, RECORDS_PER_PAGE_MAX } from './page.js';
import { deflate, inflate, PlaneReader, PlaneWriter } from './planes.js';

const HEADER_BYTES = 12;
const RECORD_BYTES = 2 + 2 + 4 + 3 + 2 + 4;
const ZEROS_MAX = BLOCKS_PER_PAGE / 2;
export const PAGE_BYTES_MAX = HEADER_BYTES + RECORDS_PER_PAGE_MAX * (RECORD_BYTES + 32) + ZEROS_MAX * 4;
/** A record with data: one sealed byte at least, one raw block at most. */
const RECORD_LENGTH_MIN = RECORD_OVERHEAD_BYTES + 1;
const RECORD_LENGTH_MAX = RECORD_OVERHEAD_BYTES + 65_536;

/**
 * A page as an index keeps it: one zstd frame of columns, each as planes of bytes. Positions count from the index's first layer; segments stand in the
 * order in which records first name them, and offsets as the gap to where the former record of that segment ended, so that most columns are constant.
 */
export function encodePage(page: Page, firstPosition: number): Buffer {
  const { count } = page;
  const order = new Map<number, number>();
  const slotGaps = new Uint16Array(count);
  const segments = new Uint16Array(count);
  const offsetGaps = new Uint32Array(count);
  const ages = new Uint32Array(count);
  const ends: number[] = [];
  for (let index = 0; index < count; index += 1) {
    slotGaps[index] = page.slots[index]! - (index === 0 ? 0 : page.slots[index - 1]!);
    let segment = order.get(page.segments[index]!);
    if (segment === undefined) {
      segment = order.size;
      order.set(page.segments[index]!, segment);
      ends.push(SEGMENT_HEADER_BYTES);
    }
    segments[index] = segment;
    offsetGaps[index] = page.offsets[index]! - ends[segment]!;
    ends[segment] = page.offsets[index]! + page.lengths[index]!;
    ages[index] = page.positions[index]! - firstPosition;
  }
  const zeroCount = page.zeros.length / 2;
  const writer = new PlaneWriter(HEADER_BYTES + order.size * 32 + count * RECORD_BYTES + zeroCount * 4);
  for (const size of [count, order.size, zeroCount]) writer.uint32(size);
  for (const segment of order.keys()) writer.hash(page.segmentNames[segment]!);
  writer.column(slotGaps, 2);
  writer.column(segments, 2);
  writer.column(offsetGaps, 4);
  writer.column(page.lengths.subarray(0, count), 3);
  writer.column(page.masks.subarray(0, count), 2);
  writer.column(ages, 4);
  writer.column(
    page.zeros.filter((_, index) => index % 2 === 0),
    2,
  );
  writer.column(
    page.zeros.filter((_, index) => index % 2 === 1),
    2,
  );
  return Buffer.from(deflate(writer.bytes));
}

/** Takes nothing on trust: `index.malformed` for whatever no builder writes. Bounded by {@link PAGE_BYTES_MAX}. */
export function decodePage(stored: Uint8Array, range: { readonly first: number; readonly last: number }): Page {
  const bytes = inflate(stored, PAGE_BYTES_MAX);
  const reader = new PlaneReader(bytes);
  const [count, segmentCount, zeroCount] = [reader.uint32(), reader.uint32(), reader.uint32()];
  if (count > RECORDS_PER_PAGE_MAX || segmentCount > count || zeroCount > ZEROS_MAX) throw malformed('a page holds more than it can');
  reader.expect(segmentCount * 32 + count * RECORD_BYTES + zeroCount * 4);
  const segmentNames = Array.from({ length: segmentCount }, () => reader.hash());
  const columns = {
    slots: reader.column(new Uint16Array(count), 2),
    segments: reader.column(new Uint32Array(count), 2),
    offsets: reader.column(new Uint32Array(count), 4),
    lengths: reader.column(new Uint32Array(count), 3),
    masks: reader.column(new Uint16Array(count), 2),
    positions: reader.column(new Uint32Array(count), 4),
  };
  undoGaps(columns, segmentCount, range);
  const starts = reader.column(new Uint16Array(zeroCount), 2);
  const counts = reader.column(new Uint16Array(zeroCount), 2);
  discard(bytes);
  return new Page(count, { ...columns, segmentNames, zeros: zeroRanges(starts, counts) });
}

type RecordColumns = Pick<Page, 'slots' | 'segments' | 'offsets' | 'lengths' | 'masks' | 'positions'>;

function undoGaps(columns: RecordColumns, segmentCount: number, { first, last }: { readonly first: number; readonly last: number }): void {
  const { slots, segments, offsets, lengths, masks, positions } = columns;
  const ends = new Uint32Array(segmentCount).fill(SEGMENT_HEADER_BYTES);
  let seen = 0;
  let slot = 0;
  let shown = 0;
  for (let index = 0; index < slots.length; index += 1) {
    const gap = slots[index]!;
    slot += gap;
    if (gap > 0 || index === 0) shown = 0;
    const segment = segments[index]!;
    if (segment === seen) seen += 1;
    const length = lengths[index]!;
    const mask = masks[index]!;
    if (segment >= seen || segment >= segmentCount) throw malformed('a page names its segments out of order');
    const offset = (ends[segment]! + offsets[index]!) >>> 0;
    const position = first + positions[index]!;
    const isRight =
      slot < BLOCKS_PER_PAGE &&
      mask !== 0 &&
      (mask & shown) === 0 &&
      length >= RECORD_LENGTH_MIN &&
      length <= RECORD_LENGTH_MAX &&
      offset >= SEGMENT_HEADER_BYTES &&
      offset + length <= SEGMENT_BYTES_MAX &&
      position <= last &&
      (gap > 0 || index === 0 || position < positions[index - 1]!);
    if (!isRight) throw malformed('a record of a page is out of bounds');
    shown |= mask;
    ends[segment] = offset + length;
    slots[index] = slot;
    offsets[index] = offset;
    positions[index] = position;
  }
  if (seen !== segmentCount) throw malformed('a page names a segment that it does not need');
}

function zeroRanges(starts: Uint16Array, counts: Uint16Array): Uint16Array {
  const ranges = new Uint16Array(starts.length * 2);
  let end = -1;
  for (let index = 0; index < starts.length; index += 1) {
    const start = starts[index]!;
    const count = counts[index]!;
    if (start <= end || count === 0 || start + count > BLOCKS_PER_PAGE) throw malformed('the zeros of a page do not ascend');
    end = start + count;
    ranges[index * 2] = start;
    ranges[index * 2 + 1] = count;
  }
  return ranges;
}

function malformed(message: string): Error {
  return corrupt('index.malformed', message);
}
