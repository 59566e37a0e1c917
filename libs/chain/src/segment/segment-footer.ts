import { corrupt } from '../chain-errors.js';
import type { ListEntry } from '../manifest/list-page.js';
import { readRecordHeader, RECORD_HEADER_BYTES, recordHeaderFault, ZERO_RUN_CODEC, type RecordHeader } from '../record-header.js';
import { RecordOrder } from './record-order.js';
import {
  FOOTER_MAGIC,
  footerEntryBytes,
  RECORD_OVERHEAD_BYTES,
  SEGMENT_HEADER_BYTES,
  TRAILER_BYTES,
  TRAILER_MAGIC,
} from './segment-layout.js';

export interface FooterEntry {
  readonly header: RecordHeader;
  /** Where the record begins in the segment, and its length with header and tag. */
  readonly offset: number;
  readonly bytes: number;
  /** The whole record where it is a zero run. */
  readonly zeroRun: Buffer | null;
}

type Listed = Pick<ListEntry, 'sizeBytes' | 'footerBytes' | 'recordCount'>;

/** The records of a segment as columns, in its order: an index of a large disk is made from tens of millions. */
export class SegmentFooter {
  readonly disks: Uint16Array;
  readonly blocks: Uint32Array;
  /** Blocks of a zero run; 0 for a record with data. */
  readonly zeroCounts: Uint32Array;
  readonly masks: Uint16Array;
  readonly cycles: BigUint64Array;
  /** Where each record begins in the segment, and its length with header and tag. */
  readonly offsets: Uint32Array;
  readonly lengths: Uint32Array;
  /** Where its header stands in the footer. */
  readonly #entries: Uint32Array;

  private constructor(
    readonly count: number,
    private readonly footer: Buffer,
  ) {
    this.disks = new Uint16Array(count);
    this.blocks = new Uint32Array(count);
    this.zeroCounts = new Uint32Array(count);
    this.masks = new Uint16Array(count);
    this.cycles = new BigUint64Array(count);
    this.offsets = new Uint32Array(count);
    this.lengths = new Uint32Array(count);
    this.#entries = new Uint32Array(count);
  }

  /**
   * Reads the last `footerBytes` of a segment, which must be the footer of a segment like the listed one.
   * `segment.malformed`, `segment.version-unsupported`, `segment.out-of-order`, `segment.out-of-bounds`.
   */
  static read(footer: Buffer, listed: Listed): SegmentFooter {
    checkTrailer(footer, listed);
    const table = new SegmentFooter(listed.recordCount, footer);
    table.#fill(listed);
    return table;
  }

  get memoryBytes(): number {
    return this.footer.length + this.count * 36;
  }

  /** The records of one cycle alone, which do not overlap. */
  ofCycle(cycle: bigint): SegmentFooter {
    const kept: number[] = [];
    for (let index = 0; index < this.count; index += 1) if (this.cycles[index] === cycle) kept.push(index);
    if (kept.length === this.count) return this;
    const table = new SegmentFooter(kept.length, this.footer);
    for (const [to, from] of kept.entries()) {
      table.disks[to] = this.disks[from]!;
      table.blocks[to] = this.blocks[from]!;
      table.zeroCounts[to] = this.zeroCounts[from]!;
      table.masks[to] = this.masks[from]!;
      table.cycles[to] = this.cycles[from]!;
      table.offsets[to] = this.offsets[from]!;
      table.lengths[to] = this.lengths[from]!;
      table.#entries[to] = this.#entries[from]!;
    }
    return table;
  }

  entry(index: number): FooterEntry {
    const header = readRecordHeader(this.footer, this.#entries[index]!);
    const zeroRun = this.zeroCounts[index] === 0 ? null : this.zeroRun(index);
    return { header, offset: this.offsets[index]!, bytes: this.lengths[index]!, zeroRun };
  }

  /** A record's header as it stands here. */
  headerBytes(index: number): Buffer {
    const at = this.#entries[index]!;
    return this.footer.subarray(at, at + RECORD_HEADER_BYTES);
  }

  /** All of it, trailer included. */
  get bytes(): Buffer {
    return this.footer;
  }

  /** The whole record: a zero run stands in the footer with its tag. */
  zeroRun(index: number): Buffer {
    const at = this.#entries[index]!;
    return this.footer.subarray(at, at + RECORD_OVERHEAD_BYTES);
  }

  /** The first record at or behind a place. */
  firstAt(disk: number, block: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.disks[middle]! > disk || (this.disks[middle] === disk && this.blocks[middle]! >= block)) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #fill({ sizeBytes, footerBytes }: Listed): void {
    const { footer } = this;
    const trailerAt = footer.length - TRAILER_BYTES;
    const order = new RecordOrder();
    let at = FOOTER_MAGIC.length;
    let offset = SEGMENT_HEADER_BYTES;
    for (let index = 0; index < this.count; index += 1) {
      if (at + RECORD_HEADER_BYTES > trailerAt) throw malformed('the footer is too short for its records');
      const fault = recordHeaderFault(footer, at);
      if (fault !== null) throw corrupt(`segment.${fault.code}`, fault.message);
      const isZeroRun = footer[at + 4] === ZERO_RUN_CODEC;
      const disk = footer.readUInt16BE(at + 6);
      const block = footer.readUInt32BE(at + 8);
      const count = footer.readUInt32BE(at + 12);
      const cycle = footer.readBigUInt64BE(at + 24);
      if (!order.take({ disk, block, count, cycle })) throw corrupt('segment.out-of-order', 'records do not ascend or overlap');
      const length = RECORD_OVERHEAD_BYTES + footer.readUInt32BE(at + 36);
      this.disks[index] = disk;
      this.blocks[index] = block;
      this.zeroCounts[index] = isZeroRun ? count : 0;
      this.masks[index] = footer.readUInt16BE(at + 16);
      this.cycles[index] = cycle;
      this.offsets[index] = offset;
      this.lengths[index] = length;
      this.#entries[index] = at;
      at += footerEntryBytes(isZeroRun);
      if (at > trailerAt) throw malformed('the footer is too short for its records');
      offset += length;
    }
    if (at !== trailerAt || offset !== sizeBytes - footerBytes) throw malformed('the footer does not add up to the segment');
  }
}

/** The records of a segment one by one; what {@link SegmentFooter} refuses is refused here. */
export function* footerEntries(footer: Buffer, listed: Listed): Generator<FooterEntry> {
  const table = SegmentFooter.read(footer, listed);
  for (let index = 0; index < table.count; index += 1) yield table.entry(index);
}

function checkTrailer(footer: Buffer, listed: Listed): void {
  const trailerAt = footer.length - TRAILER_BYTES;
  const isRight =
    trailerAt >= FOOTER_MAGIC.length &&
    footer.length === listed.footerBytes &&
    footer.subarray(0, FOOTER_MAGIC.length).equals(FOOTER_MAGIC) &&
    footer.readUInt32BE(trailerAt) === listed.sizeBytes - listed.footerBytes &&
    footer.readUInt32BE(trailerAt + 4) === listed.footerBytes &&
    footer.readUInt32BE(trailerAt + 8) === listed.recordCount &&
    // Bounds the columns by what the footer can hold, whatever it claims.
    listed.recordCount * RECORD_HEADER_BYTES <= trailerAt &&
    footer.subarray(trailerAt + 16).equals(TRAILER_MAGIC);
  if (!isRight) throw malformed('the trailer does not describe the listed segment');
}

function malformed(message: string): Error {
  return corrupt('segment.malformed', message);
}
