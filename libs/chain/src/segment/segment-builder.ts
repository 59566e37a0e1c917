import { randomBytes } from 'node:crypto';
import { assert, idToBytes, KIB, type ChainId } from '#libs/kernel';
import { ZstdFrames } from '../frames/zstd-frames.js';
import { deriveKey } from '../keys/chain-keys.js';
import {
  BLOCK_BYTES,
  BLOCKS_PER_DISK_MAX,
  FIRMWARE_DISK,
  FULL_MASK,
  GRAIN_BYTES,
  SEGMENT_BYTES_MAX,
  SEGMENT_BYTES_TARGET,
  SEGMENT_RECORDS_MAX,
} from '../limits.js';
import { Fingerprinter, RecordSealer } from '../record.js';
import { grainCount, maxCompressedBytes, type RecordHeader } from '../record-header.js';
import { sha256Hex } from '../sha256.js';
import {
  FOOTER_MAGIC,
  footerEntryBytes,
  RECORD_OVERHEAD_BYTES,
  SEGMENT_HEADER_BYTES,
  SEGMENT_MAGIC,
  SEGMENT_VERSION,
  TRAILER_BYTES,
  TRAILER_MAGIC,
} from './segment-layout.js';
import { comparePositions, type BlockPosition, type SegmentSummary } from './segment-summary.js';

export interface SegmentBuilderOptions {
  readonly chainId: ChainId;
  readonly cycle: bigint;
  readonly generation: number;
  /** 32 bytes. */
  readonly dataKey: Uint8Array;
  /** 32 bytes. */
  readonly fingerprintKey: Uint8Array;
  /** The size at which the builder calls itself full: 64 KiB … 15.9 MiB; 8 MiB unless told. The segment ends at most one block above. */
  readonly targetBytes?: number;
  /** What a former segment of this target size lay in, to be written over; new memory is taken where it is missing or too small. */
  readonly memory?: ArrayBuffer | undefined;
}

export interface BuiltSegment extends SegmentSummary {
  /** Alone in its ArrayBuffer, so it can be transferred to another thread. */
  readonly bytes: Buffer;
}

/** What one more record can take beyond the target: a raw block, its header and tag, and its entry in the footer. */
const SLACK_BYTES = BLOCK_BYTES + 2 * RECORD_OVERHEAD_BYTES;
const TARGET_BYTES_MIN = 64 * KIB;
const TARGET_BYTES_MAX = SEGMENT_BYTES_MAX - SLACK_BYTES;
/** Level 1. What it gives is sealed before the next call. */
const frames = new ZstdFrames(1);
const NOTHING = Buffer.alloc(0);
const SALT_BYTES = 16;

/**
 * Seals blocks into one segment: one use, one thread, no I/O. Feed it ascending by (disk, block) and ask {@link isFull} before each block.
 * A builder draws its own random salt and spends an ordinal before each encryption, so nothing that is lost or repeated can use a nonce twice.
 */
export class SegmentBuilder {
  readonly #cycle: bigint;
  readonly #generation: number;
  readonly #salt: Buffer;
  readonly #sealer: RecordSealer;
  readonly #fingerprinter: Fingerprinter;
  readonly #targetBytes: number;
  /** Records as they are sealed, then the footer: nothing is moved again. */
  readonly #bytes: Buffer;
  /** Where each record begins, and whether its footer entry carries the tag. */
  readonly #entries: { at: number; bytes: number }[] = [];
  #end = SEGMENT_HEADER_BYTES;
  #footerBytes = FOOTER_MAGIC.length + TRAILER_BYTES;
  #plainBytes = 0;
  #first: BlockPosition | null = null;
  #last: BlockPosition | null = null;
  #isFinished = false;

  constructor(options: SegmentBuilderOptions) {
    this.#targetBytes = options.targetBytes ?? SEGMENT_BYTES_TARGET;
    assert(this.#targetBytes >= TARGET_BYTES_MIN && this.#targetBytes <= TARGET_BYTES_MAX, 'the target size is 64 KiB … 15.9 MiB');
    assert(options.generation >= 1 && options.generation <= 0xffff, 'a key generation is 1 … 65535');
    this.#cycle = options.cycle;
    this.#generation = options.generation;
    // The salt must have no second life: it is drawn here, and never leaves but in what is sealed.
    this.#salt = randomBytes(SALT_BYTES);
    const chainBytes = idToBytes(options.chainId);
    this.#sealer = new RecordSealer(options.chainId, deriveKey(options.dataKey, this.#salt, 'record', chainBytes));
    this.#fingerprinter = new Fingerprinter(options.fingerprintKey);
    const sizeBytes = this.#targetBytes + SLACK_BYTES;
    const { memory } = options;
    this.#bytes = memory !== undefined && memory.byteLength >= sizeBytes ? Buffer.from(memory) : Buffer.allocUnsafeSlow(sizeBytes);
    this.#bytes.fill(0, 0, SEGMENT_HEADER_BYTES);
    SEGMENT_MAGIC.copy(this.#bytes, 0);
    this.#bytes.writeUInt16BE(SEGMENT_VERSION, 8);
    chainBytes.copy(this.#bytes, 16);
  }

  get isFull(): boolean {
    return this.#end + this.#footerBytes >= this.#targetBytes || this.#entries.length >= SEGMENT_RECORDS_MAX;
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  /**
   * Seals the grains of one block that `mask` names (bit 0 = the first grain). `plaintext` holds exactly these grains, in order:
   * 4096 × popcount(mask) bytes. It is read before the call returns and not kept.
   */
  add(disk: number, block: number, mask: number, plaintext: Uint8Array): void {
    this.#checkPlace(disk, block, 1);
    assert(mask > 0 && mask <= FULL_MASK, 'a mask names 1 … 16 grains');
    assert(plaintext.length === GRAIN_BYTES * grainCount(mask), 'the plaintext holds the grains of the mask');
    const fingerprint = this.#fingerprinter.of(disk, block, 1, mask, plaintext);
    const record = { disk, block, count: 1, mask, plainBytes: plaintext.length, fingerprint };
    const compressed = frames.compress(plaintext);
    if (compressed.length <= maxCompressedBytes(plaintext.length)) this.#append({ ...record, codec: 'zstd' }, compressed);
    else this.#append({ ...record, codec: 'raw' }, plaintext);
  }

  /** Says that `count` whole blocks from `block` on are zero. */
  addZeroRun(disk: number, block: number, count: number): void {
    this.#checkPlace(disk, block, count);
    const fingerprint = this.#fingerprinter.of(disk, block, count, FULL_MASK, NOTHING);
    this.#append({ codec: 'zero-run', disk, block, count, mask: FULL_MASK, plainBytes: 0, fingerprint }, NOTHING);
  }

  /** Ends the segment. Needs at least one record. */
  finish(): BuiltSegment {
    assert(!this.#isFinished && this.#first !== null && this.#last !== null, 'a segment is finished once and is not empty');
    this.#isFinished = true;
    const footerAt = this.#end;
    let at = footerAt + FOOTER_MAGIC.copy(this.#bytes, footerAt);
    for (const entry of this.#entries) at += this.#bytes.copy(this.#bytes, at, entry.at, entry.at + entry.bytes);
    this.#bytes.writeUInt32BE(footerAt, at);
    this.#bytes.writeUInt32BE(this.#footerBytes, at + 4);
    this.#bytes.writeUInt32BE(this.#entries.length, at + 8);
    this.#bytes.writeUInt32BE(0, at + 12);
    TRAILER_MAGIC.copy(this.#bytes, at + 16);
    const bytes = this.#bytes.subarray(0, at + TRAILER_BYTES);
    return {
      bytes,
      sha256: sha256Hex(bytes),
      sizeBytes: bytes.length,
      footerBytes: this.#footerBytes,
      footerSha256: sha256Hex(bytes.subarray(footerAt)),
      recordCount: this.#entries.length,
      plainBytes: this.#plainBytes,
      first: this.#first,
      last: this.#last,
      generations: [this.#generation],
      cycles: [this.#cycle],
    };
  }

  #checkPlace(disk: number, block: number, count: number): void {
    assert(!this.#isFinished && !this.isFull, 'a full or finished segment takes nothing more');
    const isInside = disk >= 0 && disk <= FIRMWARE_DISK && block >= 0 && count >= 1 && block + count <= BLOCKS_PER_DISK_MAX;
    assert(isInside, 'a record lies inside a disk');
    const follows = this.#last === null || comparePositions(this.#last, { disk, block }) < 0;
    assert(follows, 'records ascend by disk and block and do not overlap');
  }

  #append(record: Omit<RecordHeader, 'generation' | 'cycle' | 'salt' | 'ordinal' | 'storedBytes'>, payload: Uint8Array): void {
    const at = this.#end;
    const header = { ...record, storedBytes: payload.length, generation: this.#generation, cycle: this.#cycle, salt: this.#salt };
    this.#end = this.#sealer.seal(header, payload, this.#bytes, at);
    const entryBytes = footerEntryBytes(record.codec === 'zero-run');
    this.#entries.push({ at, bytes: entryBytes });
    this.#footerBytes += entryBytes;
    this.#plainBytes += record.plainBytes;
    this.#first ??= { disk: record.disk, block: record.block };
    this.#last = { disk: record.disk, block: record.block + record.count - 1 };
  }
}
