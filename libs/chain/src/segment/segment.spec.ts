import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AssertionError, newId, PlatformError, type ChainId } from '#libs/kernel';
import { inspectSegment, openRecord, SegmentInspector, type SegmentExpectation } from '../index.js';
import { BLOCK_BYTES, BLOCKS_PER_DISK_MAX, FULL_MASK, GRAIN_BYTES, SEGMENT_BYTES_MAX } from '../limits.js';
import { ChainWriter, type Change } from '../testing/chain-writer.js';
import { SegmentBuilder } from './segment-builder.js';
import { footerEntries } from './segment-footer.js';
import { count } from '../../../../test/support/counts.js';

const writer = new ChainWriter();
const { chainId, keys } = writer;
const CYCLE = (1n << 48n) | 7n;

/** Compressible where `seed` is even. */
function bytesOf(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length, seed);
  if (seed % 2 === 1) for (let at = 0; at < length; at += 32) createHash('sha256').update(`${seed} ${at}`).digest().copy(bytes, at);
  return bytes;
}

const CHANGES: Change[] = [
  { disk: 0, block: 0, mask: FULL_MASK, plaintext: bytesOf(BLOCK_BYTES, 2) },
  { disk: 0, block: 3, mask: 0b101, plaintext: bytesOf(2 * GRAIN_BYTES, 3) },
  { disk: 0, block: 10, zeroCount: 1000 },
  { disk: 1, block: 0, mask: 0x8000, plaintext: Buffer.alloc(GRAIN_BYTES) },
];

const built = writer.seal(CYCLE, { changes: CHANGES })[0]!;
const expectation = { chainId, cycle: CYCLE, generations: new Set([1]) };

/** The code that inspecting a changed copy ends with; `ok` when there is none. */
function codeAfter(change: (bytes: Buffer) => Buffer | void, expected: Partial<SegmentExpectation> = {}): string {
  const copy = Buffer.from(built.bytes);
  const changed = change(copy) ?? copy;
  try {
    inspectSegment(changed, { ...expectation, ...expected });
    return 'ok';
  } catch (error) {
    expect(error).toBeInstanceOf(PlatformError);
    return (error as PlatformError).code;
  }
}

/** Where the records begin, by the footer. */
function entriesOf(bytes: Buffer): { offset: number; bytes: number }[] {
  return [...footerEntries(bytes.subarray(bytes.length - built.footerBytes), built)];
}

describe('a segment', () => {
  it('holds what was sealed into it', () => {
    const opened = entriesOf(built.bytes).map(({ offset, bytes }) => openRecord(built.bytes.subarray(offset, offset + bytes), keys));
    expect(opened.map(({ header }) => header.codec)).toEqual(['zstd', 'raw', 'zero-run', 'zstd']);
    opened.forEach(({ header, plaintext }, index) => {
      const change = CHANGES[index]!;
      expect(header).toMatchObject({ disk: change.disk, block: change.block, generation: 1, cycle: CYCLE, ordinal: index });
      if ('plaintext' in change) expect(plaintext.equals(change.plaintext)).toBe(true);
      else expect(header).toMatchObject({ count: change.zeroCount, plainBytes: 0, mask: FULL_MASK });
    });
  });

  it('is written over what lay in its memory, and shows nothing of it', () => {
    const options = { chainId, cycle: CYCLE, generation: 1, dataKey: keys.dataKey(1), fingerprintKey: keys.fingerprintKey };
    const seal = (memory?: ArrayBuffer): ReturnType<SegmentBuilder['finish']> => {
      const builder = new SegmentBuilder({ ...options, memory });
      builder.add(2, 5, FULL_MASK, bytesOf(BLOCK_BYTES, 3));
      builder.addZeroRun(2, 6, 10);
      return builder.finish();
    };
    const memory = seal().bytes.buffer as ArrayBuffer;
    new Uint8Array(memory).fill(0xee);
    const again = seal(memory);
    expect(again.bytes.buffer).toBe(memory);
    expect(inspectSegment(again.bytes, { ...expectation, sha256: again.sha256 }).recordCount).toBe(2);
    expect(again.bytes.includes(Buffer.alloc(16, 0xee))).toBe(false);
    expect(seal(new ArrayBuffer(10)).sizeBytes).toBe(again.sizeBytes);
  });

  it('is described alike by its builder and its inspector', () => {
    const { bytes, ...summary } = built;
    expect(inspectSegment(bytes, { ...expectation, sha256: built.sha256 })).toEqual(summary);
    expect(summary).toMatchObject({ recordCount: 4, plainBytes: BLOCK_BYTES + 3 * GRAIN_BYTES, cycles: [CYCLE], generations: [1] });
    expect(summary).toMatchObject({ first: { disk: 0, block: 0 }, last: { disk: 1, block: 0 }, sizeBytes: bytes.length });
  });

  it('is inspected alike however its bytes are cut', () => {
    const { bytes, ...summary } = built;
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }), (lengths) => {
        const inspector = new SegmentInspector({ ...expectation, sizeBytes: bytes.length });
        for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
          const end = at + lengths[turn % lengths.length]!;
          inspector.push(bytes.subarray(at, end));
          at = end;
        }
        expect(inspector.finish()).toEqual(summary);
      }),
      { numRuns: count(50, 2_000) },
    );
  });

  it('passes through an inspector unchanged, or ends in an error', async () => {
    const through = async (bytes: Buffer): Promise<Buffer> => {
      const inspector = new SegmentInspector({ ...expectation, sizeBytes: bytes.length, sha256: built.sha256 });
      const source = async function* (): AsyncGenerator<Uint8Array> {
        for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
      };
      const parts: Uint8Array[] = [];
      for await (const part of inspector.through(source())) parts.push(part);
      return Buffer.concat(parts);
    };
    expect((await through(built.bytes)).equals(built.bytes)).toBe(true);
    const damaged = Buffer.from(built.bytes);
    damaged[50]! ^= 1;
    await expect(through(damaged)).rejects.toMatchObject({ code: 'segment.hash-mismatch' });
  });

  it('has another salt each time, so equal content gives other bytes', () => {
    const again = writer.seal(CYCLE, { changes: CHANGES })[0]!;
    expect(again.sha256).not.toBe(built.sha256);
    const [salt, saltAgain] = [built, again].map(({ bytes }) => bytes.subarray(32 + 40, 32 + 56).toString('hex'));
    expect(salt).not.toBe(saltAgain);
  });

  it('carries the same fingerprint for the same content', () => {
    const again = writer.seal(CYCLE + 1n, { changes: CHANGES, generation: 2 })[0]!;
    const fingerprintOf = (bytes: Buffer): string => bytes.subarray(32 + 56, 32 + 72).toString('hex');
    expect(fingerprintOf(again.bytes)).toBe(fingerprintOf(built.bytes));
  });
});

describe('SegmentBuilder', () => {
  it('is full at its target and stays below 16 MiB at the largest', () => {
    const builder = writer.builder(CYCLE, 1, 15 * 1024 * 1024);
    const block = bytesOf(BLOCK_BYTES, 1);
    let blocks = 0;
    for (; !builder.isFull; blocks += 1) builder.add(0, blocks, FULL_MASK, block);
    const { sizeBytes } = builder.finish();
    expect(sizeBytes).toBeGreaterThanOrEqual(15 * 1024 * 1024);
    expect(sizeBytes).toBeLessThanOrEqual(SEGMENT_BYTES_MAX);
    expect(() => writer.builder(CYCLE, 1, SEGMENT_BYTES_MAX)).toThrow(AssertionError);
  });

  it('takes only ascending records that lie inside a disk and match their mask', () => {
    const grain = Buffer.alloc(GRAIN_BYTES);
    const attempts: ((builder: ReturnType<ChainWriter['builder']>) => void)[] = [
      (builder) => builder.add(0, 5, 1, grain),
      (builder) => builder.add(0, 14, 1, grain),
      (builder) => builder.addZeroRun(0, 14, 1),
      (builder) => builder.add(1, 0, 0, Buffer.alloc(0)),
      (builder) => builder.add(1, 0, 3, grain),
      (builder) => builder.add(65_536, 0, 1, grain),
      (builder) => builder.add(1, BLOCKS_PER_DISK_MAX, 1, grain),
      (builder) => builder.addZeroRun(1, BLOCKS_PER_DISK_MAX - 1, 2),
      (builder) => builder.addZeroRun(1, 0, 0),
    ];
    for (const attempt of attempts) {
      const builder = writer.builder(CYCLE);
      builder.addZeroRun(0, 5, 10);
      expect(() => attempt(builder)).toThrow(AssertionError);
    }
    expect(() => writer.builder(CYCLE).finish()).toThrow(AssertionError);
  });
});

describe('inspecting a segment', () => {
  const second = entriesOf(built.bytes)[1]!.offset;
  const footerAt = built.sizeBytes - built.footerBytes;

  it('refuses what is not whole, not itself or not wanted here', () => {
    expect(codeAfter((bytes) => bytes.subarray(0, bytes.length - 1))).toBe('segment.truncated');
    expect(codeAfter((bytes) => bytes.subarray(0, 100))).toBe('segment.truncated');
    expect(codeAfter((bytes) => Buffer.concat([bytes, Buffer.alloc(1)]))).toBe('segment.malformed');
    expect(codeAfter(() => {}, { sha256: createHash('sha256').digest('hex') })).toBe('segment.hash-mismatch');
    expect(codeAfter(() => {}, { chainId: newId<ChainId>() })).toBe('segment.foreign-chain');
    expect(codeAfter(() => {}, { cycle: CYCLE + 1n })).toBe('segment.wrong-cycle');
    expect(codeAfter(() => {}, { generations: new Set([2]) })).toBe('segment.wrong-generation');
    expect(codeAfter(() => Buffer.alloc(SEGMENT_BYTES_MAX + 1))).toBe('segment.too-large');
    expect(codeAfter(() => Buffer.alloc(5000))).toBe('segment.malformed');
  });

  it('refuses more or fewer bytes than were announced', () => {
    const inspect = (sizeBytes: number) => () => {
      const inspector = new SegmentInspector({ ...expectation, sizeBytes });
      inspector.push(built.bytes);
      return inspector.finish();
    };
    expect(inspect(built.sizeBytes - 1)).toThrow(expect.objectContaining({ code: 'segment.too-large' }));
    expect(inspect(built.sizeBytes + 1)).toThrow(expect.objectContaining({ code: 'segment.truncated' }));
  });

  it('refuses headers and footers that are wrong or do not agree', () => {
    const set = (at: number, value: number) => (bytes: Buffer) => void (bytes[at] = value);
    // What is random may be anything already: changed, not set.
    const flip = (at: number) => (bytes: Buffer) => void (bytes[at]! ^= 1);
    expect(codeAfter(set(0, 0))).toBe('segment.malformed');
    expect(codeAfter(set(9, 2))).toBe('segment.version-unsupported');
    expect(codeAfter(set(12, 1))).toBe('segment.malformed');
    expect(codeAfter(set(second + 3, 2))).toBe('segment.version-unsupported');
    expect(codeAfter(set(second + 4, 9))).toBe('segment.version-unsupported');
    expect(codeAfter(set(second + 5, 1))).toBe('segment.malformed');
    expect(codeAfter(set(second + 8, 0x80))).toBe('segment.out-of-bounds');
    expect(codeAfter((bytes) => void bytes.writeUInt32BE(0, second + 8))).toBe('segment.out-of-order');
    expect(codeAfter((bytes) => void bytes.writeUInt32BE(2, second + 12))).toBe('segment.malformed');
    expect(codeAfter((bytes) => void bytes.writeUInt16BE(1, second + 16))).toBe('segment.malformed');
    expect(codeAfter((bytes) => void bytes.writeUInt16BE(0, second + 18))).toBe('segment.malformed');
    expect(codeAfter((bytes) => void bytes.writeUInt32BE(99, second + 36))).toBe('segment.malformed');
    expect(codeAfter(flip(second + 60))).toBe('segment.footer-mismatch');
    expect(codeAfter(flip(footerAt + 4 + 60))).toBe('segment.footer-mismatch');
    expect(codeAfter((bytes) => void bytes.writeUInt32BE(5, bytes.length - 16))).toBe('segment.malformed');
    expect(codeAfter(set(built.sizeBytes - 1, 0))).toBe('segment.malformed');
  });

  it('refuses a segment without records', () => {
    const bytes = Buffer.alloc(220);
    built.bytes.copy(bytes, 0, 0, 32);
    built.bytes.copy(bytes, 32, footerAt, footerAt + 4);
    expect(codeAfter(() => bytes)).toBe('segment.malformed');
  });

  it('never takes a flipped bit or a splice: structure, or the tag, gives it away', () => {
    const spliced = fc.record({ from: fc.nat(), to: fc.nat(), length: fc.integer({ min: 1, max: 4000 }) });
    fc.assert(
      fc.property(fc.oneof(fc.nat(), spliced), (how) => {
        const copy = Buffer.from(built.bytes);
        if (typeof how === 'number') copy[(how >> 3) % copy.length]! ^= 1 << (how & 7);
        else built.bytes.copy(copy, how.to % copy.length, how.from % copy.length, (how.from % copy.length) + how.length);
        if (copy.equals(built.bytes)) return;
        expect(codeAfter(() => copy, { sha256: built.sha256 })).toBe('segment.hash-mismatch');
        if (codeAfter(() => copy) !== 'ok') return;
        const outcomes = entriesOf(copy).map(({ offset, bytes }) => {
          try {
            openRecord(copy.subarray(offset, offset + bytes), keys);
            return 'opened';
          } catch (error) {
            return (error as PlatformError).code;
          }
        });
        expect(outcomes).toContain('record.tag-mismatch');
      }),
      { numRuns: count(1_000, 50_000) },
    );
  });
});

describe('reading a footer', () => {
  it('refuses what is not the footer of the listed segment', () => {
    const footer = built.bytes.subarray(built.sizeBytes - built.footerBytes);
    const code = (change: (copy: Buffer) => Buffer | void, listed: typeof built = built): string => {
      const copy = Buffer.from(footer);
      try {
        return `${[...footerEntries(change(copy) ?? copy, listed)].length} records`;
      } catch (error) {
        expect(error).toBeInstanceOf(PlatformError);
        return (error as PlatformError).code;
      }
    };
    expect(code(() => {})).toBe('4 records');
    expect(code((copy) => copy.subarray(1))).toBe('segment.malformed');
    expect(code(() => Buffer.alloc(0))).toBe('segment.malformed');
    expect(code((copy) => void (copy[0] = 0))).toBe('segment.malformed');
    expect(code((copy) => void (copy[4 + 3] = 2))).toBe('segment.version-unsupported');
    expect(code((copy) => void copy.writeUInt32BE(2 ** 31, 4 + 8))).toBe('segment.out-of-bounds');
    expect(code((copy) => void copy.writeUInt32BE(3, 4 + 8))).toBe('segment.out-of-order');
    expect(code((copy) => void copy.writeUInt32BE(77, 4 + 36))).toBe('segment.malformed');
    expect(code(() => {}, { ...built, recordCount: 3 })).toBe('segment.malformed');
    const more = (copy: Buffer): void => void copy.writeUInt32BE(5, copy.length - 16);
    expect(code(more, { ...built, recordCount: 5 })).toBe('segment.malformed');
    const fewer = (copy: Buffer): void => void copy.writeUInt32BE(3, copy.length - 16);
    expect(code(fewer, { ...built, recordCount: 3 })).toBe('segment.malformed');
  });
});

describe('opening a record', () => {
  const { offset, bytes } = entriesOf(built.bytes)[1]!;
  const record = built.bytes.subarray(offset, offset + bytes);

  it('refuses what is not a whole record of this chain', () => {
    const code = (changed: Uint8Array, holder = keys): string => {
      try {
        openRecord(changed, holder);
        return 'ok';
      } catch (error) {
        return (error as PlatformError).code;
      }
    };
    const changed = (at: number, value: number): Buffer => {
      const copy = Buffer.from(record);
      copy[at] = value;
      return copy;
    };
    expect(code(record)).toBe('ok');
    expect(code(record.subarray(0, 20))).toBe('record.malformed');
    expect(code(record.subarray(0, record.length - 1))).toBe('record.malformed');
    expect(code(changed(0, 0))).toBe('record.malformed');
    expect(code(changed(3, 7))).toBe('record.version-unsupported');
    expect(code(changed(19, 9))).toBe('keys.generation-missing');
    expect(code(changed(19, 2))).toBe('record.tag-mismatch');
    expect(code(changed(11, 4))).toBe('record.tag-mismatch');
    expect(code(changed(100, record[100]! ^ 1))).toBe('record.tag-mismatch');
    expect(code(record, new ChainWriter().keys)).toBe('record.tag-mismatch');
  });
});
