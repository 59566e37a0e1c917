import { createHash, type Hash } from 'node:crypto';
import { idToBytes, type ChainId, type PlatformError } from '#libs/kernel';
import { refused } from '../chain-errors.js';
import { SEGMENT_BYTES_MAX, SEGMENT_RECORDS_MAX, TAG_BYTES } from '../limits.js';
import { asBuffer } from '../as-buffer.js';
import { readRecordHeader, RECORD_HEADER_BYTES, recordHeaderFault, type RecordHeader } from '../record-header.js';
import { RecordOrder } from './record-order.js';
import {
  FOOTER_MAGIC,
  SEGMENT_BYTES_MIN,
  SEGMENT_HEADER_BYTES,
  SEGMENT_MAGIC,
  SEGMENT_VERSION,
  TRAILER_BYTES,
  TRAILER_MAGIC,
} from './segment-layout.js';
import type { BlockPosition, SegmentSummary } from './segment-summary.js';

export interface SegmentExpectation {
  readonly chainId: ChainId;
  /** The size announced beforehand. */
  readonly sizeBytes: number;
  /** The name it was sent under. */
  readonly sha256?: string;
  /** The only cycle its records may have; absent for a compacted segment. */
  readonly cycle?: bigint;
  /** The key generations its records may have. */
  readonly generations?: ReadonlySet<number>;
}

/** What the bytes that come next are: pieces are gathered whole, long stretches only run by. */
type Step =
  | { readonly kind: 'piece'; readonly bytes: number; readonly take: (piece: Buffer) => Step }
  | { readonly kind: 'stretch'; readonly bytes: number; readonly see: (part: Uint8Array) => void; readonly next: () => Step };

const IGNORE = (): void => {};

/**
 * The structure check a receiver makes, without any key, in constant memory, while the bytes stream by. It proves that the segment is whole,
 * is what it is called, belongs to this chain and cycle, and that its footer tells what its records are; never what they contain.
 *
 * `segment.truncated`, `segment.too-large`, `segment.hash-mismatch`, `segment.malformed`, `segment.version-unsupported`,
 * `segment.foreign-chain`, `segment.wrong-cycle`, `segment.wrong-generation`, `segment.out-of-order`, `segment.out-of-bounds`,
 * `segment.footer-mismatch`. A segment that is not what it is called (damage on the way) is `segment.hash-mismatch`, whatever else is wrong with it.
 */
export class SegmentInspector {
  readonly #expected: SegmentExpectation;
  readonly #whole = createHash('sha256');
  /** Headers as they stood before their payloads, and as the footer repeats them. */
  readonly #headers: Hash = createHash('sha256');
  readonly #entries: Hash = createHash('sha256');
  /** From the footer's magic to the end. */
  readonly #footer: Hash = createHash('sha256');
  readonly #generations = new Set<number>();
  readonly #cycles = new Set<bigint>();
  readonly #piece = Buffer.allocUnsafe(RECORD_HEADER_BYTES);
  #gathered = 0;
  #step: Step;
  #received = 0;
  #fault: PlatformError | null = null;
  #footerAt = 0;
  #entriesBytes = 0;
  #recordCount = 0;
  #plainBytes = 0;
  #first: BlockPosition | null = null;
  readonly #order = new RecordOrder();
  #isComplete = false;
  #summary: SegmentSummary | null = null;

  constructor(expected: SegmentExpectation) {
    if (expected.sizeBytes > SEGMENT_BYTES_MAX)
      throw refused('segment.too-large', 'a segment has at most 16 MiB', { sizeBytes: expected.sizeBytes });
    if (expected.sizeBytes < SEGMENT_BYTES_MIN) throw refused('segment.truncated', 'a segment has at least one record');
    this.#expected = expected;
    this.#step = piece(SEGMENT_HEADER_BYTES, (bytes) => this.#takeSegmentHeader(bytes));
  }

  push(chunk: Uint8Array): void {
    this.#received += chunk.length;
    if (this.#received > this.#expected.sizeBytes) throw refused('segment.too-large', 'more bytes came than were announced');
    this.#whole.update(chunk);
    if (this.#fault !== null) return;
    try {
      this.#walk(asBuffer(chunk));
    } catch (error) {
      // Kept until the hash is known: damage on the way is told apart from a sender that builds nonsense.
      this.#fault = error as PlatformError;
    }
  }

  /** Hands on what comes from `source` and ends with an error, before the last chunk can be taken for the end, if the segment is not right. */
  async *through(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      this.push(chunk);
      yield chunk;
    }
    this.finish();
  }

  /** May be asked again once it answered. */
  finish(): SegmentSummary {
    return (this.#summary ??= this.#conclude());
  }

  #conclude(): SegmentSummary {
    const { sizeBytes, sha256: name } = this.#expected;
    if (this.#received < sizeBytes)
      throw refused('segment.truncated', 'fewer bytes came than were announced', { received: this.#received, sizeBytes });
    const sha256 = this.#whole.digest('hex');
    if (name !== undefined && name !== sha256)
      throw refused('segment.hash-mismatch', 'the bytes are not those of this name', { sha256: name });
    if (this.#fault !== null) throw this.#fault;
    const last = this.#order.end;
    if (!this.#isComplete || this.#first === null || last === null) throw refused('segment.truncated', 'a segment ends before its trailer');
    return {
      sha256,
      sizeBytes,
      footerBytes: sizeBytes - this.#footerAt,
      footerSha256: this.#footer.digest('hex'),
      recordCount: this.#recordCount,
      plainBytes: this.#plainBytes,
      first: this.#first,
      last,
      generations: [...this.#generations].sort((a, b) => a - b),
      cycles: [...this.#cycles].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)),
    };
  }

  #walk(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      const step = this.#step;
      const count = Math.min(step.bytes - this.#gathered, chunk.length - at);
      if (step.kind === 'piece') chunk.copy(this.#piece, this.#gathered, at, at + count);
      else step.see(chunk.subarray(at, at + count));
      at += count;
      this.#gathered += count;
      if (this.#gathered < step.bytes) return;
      this.#gathered = 0;
      this.#step = step.kind === 'piece' ? step.take(this.#piece.subarray(0, step.bytes)) : step.next();
    }
  }

  #takeSegmentHeader(bytes: Buffer): Step {
    if (!bytes.subarray(0, 8).equals(SEGMENT_MAGIC)) throw malformed('a segment begins with HFSEGMNT');
    const version = bytes.readUInt16BE(8);
    if (version !== SEGMENT_VERSION) throw refused('segment.version-unsupported', `segment version ${version} is not known`, { version });
    if (bytes.readUIntBE(10, 6) !== 0) throw malformed('reserved bytes are not zero');
    if (!bytes.subarray(16).equals(idToBytes(this.#expected.chainId)))
      throw refused('segment.foreign-chain', 'the segment is of another chain');
    return this.#nextRecord();
  }

  #nextRecord(): Step {
    return piece(FOOTER_MAGIC.length, (start) => {
      if (start.equals(FOOTER_MAGIC)) return this.#footerStep();
      // The rest of the header is gathered behind the four bytes already here.
      const magic = Buffer.from(start);
      return piece(RECORD_HEADER_BYTES - magic.length, (rest) => this.#takeRecordHeader(Buffer.concat([magic, rest])));
    });
  }

  #takeRecordHeader(bytes: Buffer): Step {
    const fault = recordHeaderFault(bytes, 0);
    if (fault !== null) throw refused(`segment.${fault.code}`, fault.message);
    const header = readRecordHeader(bytes, 0);
    this.#checkRecord(header);
    this.#headers.update(bytes);
    this.#entriesBytes += bytes.length;
    if (header.codec !== 'zero-run') return stretch(header.storedBytes + TAG_BYTES, IGNORE, () => this.#nextRecord());
    this.#entriesBytes += TAG_BYTES;
    return stretch(
      TAG_BYTES,
      (part) => this.#headers.update(part),
      () => this.#nextRecord(),
    );
  }

  #checkRecord(header: RecordHeader): void {
    const { cycle, generations } = this.#expected;
    const first = { disk: header.disk, block: header.block };
    if (!this.#order.take(header)) throw refused('segment.out-of-order', 'records do not ascend by disk and block, or overlap', first);
    if (cycle !== undefined && header.cycle !== cycle) throw refused('segment.wrong-cycle', 'a record is of another cycle', first);
    if (generations !== undefined && !generations.has(header.generation)) {
      throw refused('segment.wrong-generation', 'a record is sealed with a key generation that is not allowed here', {
        generation: header.generation,
      });
    }
    this.#recordCount += 1;
    if (this.#recordCount > SEGMENT_RECORDS_MAX) throw refused('segment.too-large', 'a segment has at most 65536 records');
    this.#first ??= first;
    this.#plainBytes += header.plainBytes;
    this.#generations.add(header.generation);
    this.#cycles.add(header.cycle);
  }

  #footerStep(): Step {
    if (this.#recordCount === 0) throw malformed('a segment has at least one record');
    this.#footerAt = SEGMENT_HEADER_BYTES + this.#recordBytes();
    this.#footer.update(FOOTER_MAGIC);
    const see = (part: Uint8Array): void => {
      this.#entries.update(part);
      this.#footer.update(part);
    };
    return stretch(this.#entriesBytes, see, () => piece(TRAILER_BYTES, (bytes) => this.#takeTrailer(bytes)));
  }

  /** Everything but header, footer magic, entries and trailer is records. */
  #recordBytes(): number {
    return this.#expected.sizeBytes - SEGMENT_HEADER_BYTES - FOOTER_MAGIC.length - this.#entriesBytes - TRAILER_BYTES;
  }

  #takeTrailer(bytes: Buffer): Step {
    if (!this.#headers.digest().equals(this.#entries.digest()))
      throw refused('segment.footer-mismatch', 'the footer does not repeat the headers');
    const footerBytes = this.#expected.sizeBytes - this.#footerAt;
    const isRight =
      bytes.readUInt32BE(0) === this.#footerAt &&
      bytes.readUInt32BE(4) === footerBytes &&
      bytes.readUInt32BE(8) === this.#recordCount &&
      bytes.readUInt32BE(12) === 0 &&
      bytes.subarray(16).equals(TRAILER_MAGIC);
    if (!isRight) throw malformed('the trailer does not describe this segment');
    this.#footer.update(bytes);
    this.#isComplete = true;
    return piece(1, () => {
      throw malformed('bytes follow the trailer');
    });
  }
}

/** Checks a segment that is in memory as a whole. */
export function inspectSegment(bytes: Uint8Array, expected: Omit<SegmentExpectation, 'sizeBytes'>): SegmentSummary {
  const inspector = new SegmentInspector({ ...expected, sizeBytes: bytes.length });
  inspector.push(bytes);
  return inspector.finish();
}

function piece(bytes: number, take: (piece: Buffer) => Step): Step {
  return { kind: 'piece', bytes, take };
}

function stretch(bytes: number, see: (part: Uint8Array) => void, next: () => Step): Step {
  return { kind: 'stretch', bytes, see, next };
}

function malformed(message: string): PlatformError {
  return refused('segment.malformed', message);
}
