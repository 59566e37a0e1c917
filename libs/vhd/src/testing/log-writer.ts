import { KIB } from '#libs/kernel';
import { HEADER_BYTES, HEADER_OFFSETS, seal, writeGuid } from '../vhdx/vhdx-layout.js';

const SECTOR_BYTES = 4 * KIB;
const DESCRIPTORS_OFFSET = 64;

export type LoggedWrite = { readonly offset: number; readonly bytes: Buffer } | { readonly offset: number; readonly zeroBytes: number };

export interface LogEntry {
  readonly logId: string;
  readonly sequence: bigint;
  readonly tail: number;
  readonly flushedBytes: number;
  readonly lastBytes?: number;
  readonly writes: readonly LoggedWrite[];
}

/** An entry of a VHDX log, as [MS-VHDX] 2.3.1 lays it out; for tests, since nothing here writes a log. */
export function logEntry({ logId, sequence, tail, flushedBytes, lastBytes = flushedBytes, writes }: LogEntry): Buffer {
  const descriptorBytes = Math.ceil((DESCRIPTORS_OFFSET + 32 * writes.length) / SECTOR_BYTES) * SECTOR_BYTES;
  const head = Buffer.alloc(descriptorBytes);
  const sectors: Buffer[] = [];
  for (const [index, write] of writes.entries()) {
    const at = DESCRIPTORS_OFFSET + 32 * index;
    if ('bytes' in write) {
      head.write('desc', at, 'latin1');
      write.bytes.copy(head, at + 4, SECTOR_BYTES - 4);
      write.bytes.copy(head, at + 8, 0, 8);
      const sector = Buffer.from(write.bytes);
      sector.write('data', 0, 'latin1');
      sector.writeUInt32LE(Number(sequence >> 32n), 4);
      sector.writeUInt32LE(Number(sequence & 0xffff_ffffn), SECTOR_BYTES - 4);
      sectors.push(sector);
    } else {
      head.write('zero', at, 'latin1');
      head.writeBigUInt64LE(BigInt(write.zeroBytes), at + 8);
    }
    head.writeBigUInt64LE(BigInt(write.offset), at + 16);
    head.writeBigUInt64LE(sequence, at + 24);
  }
  const entry = Buffer.concat([head, ...sectors]);
  entry.write('loge', 0, 'latin1');
  entry.writeUInt32LE(entry.byteLength, 8);
  entry.writeUInt32LE(tail, 12);
  entry.writeBigUInt64LE(sequence, 16);
  entry.writeUInt32LE(writes.length, 24);
  writeGuid(entry, 32, logId);
  entry.writeBigUInt64LE(BigInt(flushedBytes), 48);
  entry.writeBigUInt64LE(BigInt(lastBytes), 56);
  return seal(entry);
}

/** Makes both headers name the log. */
export function nameLog(file: Buffer, logId: string): void {
  for (const offset of HEADER_OFFSETS) {
    const header = file.subarray(offset, offset + HEADER_BYTES);
    writeGuid(header, 48, logId);
    seal(header);
  }
}
