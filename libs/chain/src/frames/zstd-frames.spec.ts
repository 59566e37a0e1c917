import { createHash, randomBytes } from 'node:crypto';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { count } from '../../../../test/support/counts.js';
import { BLOCK_BYTES } from '../limits.js';
import { FrameFault, ZstdFrames } from './zstd-frames.js';

const EDGE = Buffer.alloc(32, 0x5a);
const text = Buffer.from('the quick brown fox jumps over the lazy dog; ');
/** Content of any length that is now noise, now text. */
const contents = fc
  .record({ length: fc.integer({ min: 1, max: BLOCK_BYTES }), noise: fc.uint8Array({ minLength: 0, maxLength: 2000 }) })
  .map(({ length, noise }) => Buffer.alloc(length, Buffer.concat([noise, text])));
const frameOf = (content: Uint8Array, params: Record<number, number> = {}): Buffer => zstdCompressSync(content, { params });

/** As strings: what they compare is told at once. */
const hashOf = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex');

/** What comes of a frame, and that nothing beside its target was touched. */
function outcomeOf(frames: ZstdFrames, frame: Uint8Array, length: number): string {
  const memory = Buffer.alloc(length + 64, 0x5a);
  const target = memory.subarray(32, 32 + length);
  try {
    frames.decompress(frame, target);
    return hashOf(target);
  } catch (error) {
    expect(error).toBeInstanceOf(FrameFault);
    return 'fault';
  } finally {
    expect(memory.subarray(0, 32).equals(EDGE) && memory.subarray(32 + length).equals(EDGE)).toBe(true);
  }
}

it('keeps contexts on the Node that this project brings along', () => {
  expect(new ZstdFrames(1).keepsContexts).toBe(true);
});

describe.each([
  ['kept contexts', true],
  ["Node's public functions", false],
])('blocks as frames, by %s', (_name, keepsContexts) => {
  const frames = new ZstdFrames(1, keepsContexts);

  it('come back, and are what zstd makes of them', () => {
    fc.assert(
      fc.property(contents, (content) => {
        const frame = Buffer.from(frames.compress(content));
        expect(hashOf(zstdDecompressSync(frame))).toBe(hashOf(content));
        expect(outcomeOf(frames, frame, content.length)).toBe(hashOf(content));
      }),
      { numRuns: count(100, 5000) },
    );
    const noise = randomBytes(BLOCK_BYTES);
    expect(outcomeOf(frames, Buffer.from(frames.compress(noise)), BLOCK_BYTES)).toBe(hashOf(noise));
  });

  it('are read in any form: with a checksum, with no length told, in several blocks', () => {
    const content = Buffer.concat([randomBytes(30_000), Buffer.alloc(BLOCK_BYTES - 30_000, text)]);
    for (const params of [
      { [constants.ZSTD_c_checksumFlag]: 1 },
      { [constants.ZSTD_c_contentSizeFlag]: 0 },
      { [constants.ZSTD_c_contentSizeFlag]: 0, [constants.ZSTD_c_checksumFlag]: 1 },
      // Of at most a window each.
      { [constants.ZSTD_c_windowLog]: 10 },
    ])
      expect(outcomeOf(frames, frameOf(content, params), BLOCK_BYTES)).toBe(hashOf(content));
  });

  it('must fill their target, and be one frame to the last byte', () => {
    const content = Buffer.alloc(8192, text);
    for (const frame of [frameOf(content), frameOf(content, { [constants.ZSTD_c_checksumFlag]: 1 })]) {
      expect(outcomeOf(frames, frame, 8192)).toBe(hashOf(content));
      for (const length of [1, 4096, 8191, 8193, BLOCK_BYTES]) expect(outcomeOf(frames, frame, length)).toBe('fault');
      for (let cut = 0; cut < frame.length; cut += 1) expect(outcomeOf(frames, frame.subarray(0, cut), 8192)).toBe('fault');
      for (const more of [Buffer.alloc(1), frame, Buffer.from([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0])])
        expect(outcomeOf(frames, Buffer.concat([frame, more]), 8192)).toBe('fault');
    }
    const half = frameOf(content.subarray(0, 4096));
    expect(outcomeOf(frames, Buffer.concat([half, half]), 8192)).toBe('fault');
  });
});

it('broken frames come to the same both ways, and harm no frame that follows', () => {
  const [kept, plain] = [new ZstdFrames(1, true), new ZstdFrames(1, false)];
  const sound = Buffer.alloc(BLOCK_BYTES, text);
  const soundFrame = frameOf(sound);
  const edits = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(contents, edits, fc.boolean(), (content, changes, isChecked) => {
      const frame = frameOf(content, { [constants.ZSTD_c_checksumFlag]: isChecked ? 1 : 0 });
      for (const [at, change] of changes) frame[at % frame.length]! ^= change;
      expect(outcomeOf(kept, frame, content.length)).toBe(outcomeOf(plain, frame, content.length));
      expect(outcomeOf(kept, soundFrame, BLOCK_BYTES)).toBe(hashOf(sound));
      expect(hashOf(zstdDecompressSync(kept.compress(sound)))).toBe(hashOf(sound));
    }),
    { numRuns: count(300, 20_000) },
  );
});
