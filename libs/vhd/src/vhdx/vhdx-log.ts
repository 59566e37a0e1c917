import { KIB, MIB, TIB } from '#libs/kernel';
import type { RandomAccessSource } from '../source/block-source.js';
import type { BoundedSource } from '../source/bounded-source.js';
import { isSealed, readGuid, readSafe, vhdxError, type VhdxHeader } from './vhdx-layout.js';

const SECTOR_BYTES = 4 * KIB;
/** Windows and QEMU make logs of 1 MiB. */
const LOG_BYTES_MAX = 16 * MIB;
const FILE_BYTES_MAX = 128 * TIB;
const PATCHES_MAX = 65_536;
const DESCRIPTOR_BYTES = 32;
const ENTRY_HEADER_BYTES = 64;

interface Patch {
  readonly offset: number;
  readonly length: number;
  /** Null: zeros. */
  readonly bytes: Buffer | null;
}

interface Entry {
  readonly sequence: bigint;
  readonly tail: number;
  readonly length: number;
  readonly flushedBytes: number;
  readonly lastBytes: number;
  readonly patches: readonly Patch[];
}

/**
 * The file as it is after its log was played, without writing to it. A log that was left by a crash must be honoured: the structures in the
 * file itself may be torn. `vhdx.log-broken` where the header names a log and none of its sequences is whole; `vhdx.log-too-large` beyond
 * 16 MiB or 65,536 writes.
 */
export async function replayLog(file: BoundedSource, header: VhdxHeader): Promise<RandomAccessSource> {
  if (header.logBytes > LOG_BYTES_MAX) throw vhdxError('log-too-large', 'the log of the VHDX is longer than 16 MiB');
  const log = await file.read(header.logOffset, header.logBytes);
  const entries = new LogReader(log, header.logId).activeSequence();
  const last = entries.at(-1);
  if (last === undefined) throw vhdxError('log-broken', 'the VHDX needs its log, which holds nothing whole');
  if (last.lastBytes > FILE_BYTES_MAX) throw vhdxError('log-broken', 'the log of the VHDX tells of a file longer than any');
  if (last.flushedBytes > file.sizeBytes) throw file.truncated();
  const patches = entries.flatMap((entry) => entry.patches);
  if (patches.length > PATCHES_MAX) throw vhdxError('log-too-large', 'the log of the VHDX holds more than 65,536 writes');
  return new PatchedSource(file, patches, last.lastBytes);
}

class PatchedSource implements RandomAccessSource {
  readonly sizeBytes: number;

  constructor(
    private readonly file: BoundedSource,
    private readonly patches: readonly Patch[],
    lastBytes: number,
  ) {
    this.sizeBytes = Math.max(file.sizeBytes, lastBytes);
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const result = Buffer.alloc(length);
    const inFile = Math.max(0, Math.min(length, this.file.sizeBytes - offset));
    if (inFile > 0) result.set(await this.file.read(offset, inFile));
    for (const patch of this.patches) {
      const start = Math.max(offset, patch.offset);
      const end = Math.min(offset + length, patch.offset + patch.length);
      if (end <= start) continue;
      if (patch.bytes === null) result.fill(0, start - offset, end - offset);
      else result.set(patch.bytes.subarray(start - patch.offset, end - patch.offset), start - offset);
    }
    return result;
  }
}

/**
 * The log is a ring of entries. The sequence to play is the one with the highest number among those whose entries are whole, count up by one,
 * and whose last entry says that they begin where they do ([MS-VHDX] 2.3.3).
 */
class LogReader {
  /** What may still be hashed: a log made to be slow claims a long entry at every sector. */
  private hashBudgetBytes: number;
  private readonly parsed = new Map<number, Entry | null>();

  constructor(
    private readonly log: Buffer,
    private readonly logId: string,
  ) {
    this.hashBudgetBytes = 2 * log.byteLength + MIB;
  }

  activeSequence(): Entry[] {
    let active: Entry[] = [];
    for (let tail = 0; tail < this.log.byteLength;) {
      const { entries, offsets, end } = this.sequenceFrom(tail);
      const last = entries.at(-1);
      const begin = last === undefined ? -1 : offsets.indexOf(last.tail);
      if (last !== undefined && begin >= 0 && last.sequence > (active.at(-1)?.sequence ?? 0n)) active = entries.slice(begin);
      if (end <= tail) {
        if (last !== undefined) break;
        tail += SECTOR_BYTES;
      } else {
        tail = end;
      }
    }
    return active;
  }

  /** `end` is where the sequence stops; at or before `from` when it went round the ring or is empty. */
  private sequenceFrom(from: number): { entries: Entry[]; offsets: number[]; end: number } {
    const entries: Entry[] = [];
    const offsets: number[] = [];
    let covered = 0;
    let head = from;
    while (covered < this.log.byteLength) {
      const entry = this.entryAt(head);
      const before = entries.at(-1);
      if (entry === null || (before !== undefined && entry.sequence !== before.sequence + 1n)) break;
      entries.push(entry);
      offsets.push(head);
      covered += entry.length;
      head = (head + entry.length) % this.log.byteLength;
    }
    return { entries, offsets, end: head };
  }

  private entryAt(offset: number): Entry | null {
    const known = this.parsed.get(offset);
    if (known !== undefined) return known;
    const entry = this.parse(offset);
    this.parsed.set(offset, entry);
    return entry;
  }

  private parse(offset: number): Entry | null {
    const head = this.slice(offset, ENTRY_HEADER_BYTES);
    const length = head.readUInt32LE(8);
    const tail = head.readUInt32LE(12);
    const sequence = head.readBigUInt64LE(16);
    const count = head.readUInt32LE(24);
    const flushedBytes = readSafe(head, 48);
    const lastBytes = readSafe(head, 56);
    const isPlausible =
      head.toString('latin1', 0, 4) === 'loge' &&
      length >= SECTOR_BYTES &&
      length % SECTOR_BYTES === 0 &&
      length <= this.log.byteLength &&
      tail % SECTOR_BYTES === 0 &&
      sequence > 0n &&
      count * DESCRIPTOR_BYTES + ENTRY_HEADER_BYTES <= length &&
      readGuid(head, 32) === this.logId &&
      flushedBytes !== null &&
      lastBytes !== null;
    if (!isPlausible) return null;
    this.hashBudgetBytes -= length;
    if (this.hashBudgetBytes < 0) throw vhdxError('log-broken', 'the log of the VHDX claims more than it can hold');
    const bytes = this.slice(offset, length);
    const patches = isSealed(bytes, 'loge') ? patchesOf(bytes, sequence, count) : null;
    return patches === null ? null : { sequence, tail, length, flushedBytes, lastBytes, patches };
  }

  /** Of the ring. */
  private slice(offset: number, length: number): Buffer {
    const straight = this.log.subarray(offset, offset + length);
    if (straight.byteLength === length) return straight;
    return Buffer.concat([straight, this.log.subarray(0, length - straight.byteLength)]);
  }
}

/** Null where a descriptor or its data is of another entry, or torn. */
function patchesOf(bytes: Buffer, sequence: bigint, count: number): Patch[] | null {
  const patches: Patch[] = [];
  let dataOffset = Math.ceil((ENTRY_HEADER_BYTES + count * DESCRIPTOR_BYTES) / SECTOR_BYTES) * SECTOR_BYTES;
  for (let index = 0; index < count; index += 1) {
    const at = ENTRY_HEADER_BYTES + index * DESCRIPTOR_BYTES;
    const kind = bytes.toString('latin1', at, at + 4);
    const offset = readSafe(bytes, at + 16);
    if (bytes.readBigUInt64LE(at + 24) !== sequence || offset === null || offset % SECTOR_BYTES !== 0) return null;
    if (kind === 'zero') {
      const length = readSafe(bytes, at + 8);
      if (length === null || length % SECTOR_BYTES !== 0) return null;
      patches.push({ offset, length, bytes: null });
    } else if (kind === 'desc' && dataOffset + SECTOR_BYTES <= bytes.byteLength) {
      const data = dataSector(bytes.subarray(dataOffset, dataOffset + SECTOR_BYTES), bytes.subarray(at, at + DESCRIPTOR_BYTES), sequence);
      if (data === null) return null;
      patches.push({ offset, length: SECTOR_BYTES, bytes: data });
      dataOffset += SECTOR_BYTES;
    } else {
      return null;
    }
  }
  return patches;
}

/** The descriptor keeps the first 8 and last 4 bytes, whose places in the data sector are taken by its signature and sequence number. */
function dataSector(sector: Buffer, descriptor: Buffer, sequence: bigint): Buffer | null {
  const found = (BigInt(sector.readUInt32LE(4)) << 32n) | BigInt(sector.readUInt32LE(SECTOR_BYTES - 4));
  if (sector.toString('latin1', 0, 4) !== 'data' || found !== sequence) return null;
  return Buffer.concat([descriptor.subarray(8, 16), sector.subarray(8, SECTOR_BYTES - 4), descriptor.subarray(4, 8)]);
}
