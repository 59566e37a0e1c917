import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { assert, KIB, MIB } from '#libs/kernel';
import { asBuffer } from '../as-buffer.js';
import { BLOCK_BYTES } from '../limits.js';
import { ZstdContext } from './zstd-context.js';

/** A frame that is not one, or does not hold what it should. */
export class FrameFault extends Error {}

/** What a frame whose reader keeps something of it may make it keep: 4 MiB. */
const WINDOW_LOG_MAX = 22;
/** Memory for frames that is kept; what may grow larger is made for the call. */
const KEPT_BYTES_MAX = MIB;
const MAGIC = 0xfd2f_b528;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;

/** Bytes as zstd frames, one at a time, by contexts that are kept where Node lets us. */
export class ZstdFrames {
  #decompressor: ZstdContext | null = null;
  #compressor: ZstdContext | null = null;
  #room = Buffer.alloc(0);

  constructor(
    private readonly level: number,
    /** Whether contexts are kept; Node's public functions do the same, at half the speed. */
    readonly keepsContexts = isContextTrusty(),
  ) {}

  /** One frame. It lies in memory that the next call writes over. */
  compress(plaintext: Uint8Array): Uint8Array {
    assert(plaintext.length > 0, 'a frame holds something');
    const bytesMax = frameBytesMax(plaintext.length);
    if (this.keepsContexts && bytesMax <= KEPT_BYTES_MAX) {
      this.#compressor ??= ZstdContext.forCompression(this.level);
      if (this.#room.length < bytesMax) this.#room = Buffer.allocUnsafeSlow(bytesMax);
      const length = this.#compressor?.run(plaintext, this.#room) ?? null;
      if (length !== null) return this.#room.subarray(0, length);
      this.#compressor = null;
    }
    return zstdCompressSync(plaintext, { params: { [constants.ZSTD_c_compressionLevel]: this.level }, chunkSize: bytesMax });
  }

  /**
   * The content of one frame, which must fill `target` to the last byte and end with the last byte of `frame`; else a {@link FrameFault}, with anything in
   * `target`, nothing beside it, and the next frame unharmed.
   */
  decompress(frame: Uint8Array, target: Uint8Array): void {
    assert(target.length > 0, 'a frame holds something');
    const contentBytes = contentBytesOf(frame);
    if (contentBytes !== null && contentBytes !== target.length) throw new FrameFault('a frame decompresses to another length');
    // What tells its length is written out in one go, and cannot turn out longer; of the rest there is little.
    if (this.keepsContexts && contentBytes !== null) {
      this.#decompressor ??= ZstdContext.forDecompression();
      if (this.#decompressor?.run(frame, target) === target.length) return;
      // Failed: the next frame begins with another. On this one the slow way has the last word.
      this.#decompressor = null;
    }
    const plaintext = decompressPublicly(frame, target.length);
    if (plaintext.length !== target.length) throw new FrameFault('a frame decompresses to another length');
    target.set(plaintext);
  }

  /** The content of one frame of any length up to `bytesMax`; a {@link FrameFault} as above. */
  inflate(frame: Uint8Array, bytesMax: number): Buffer {
    const contentBytes = contentBytesOf(frame);
    if (contentBytes === null) return decompressPublicly(frame, bytesMax);
    if (contentBytes > bytesMax || contentBytes === 0) throw new FrameFault('a frame decompresses to another length');
    const target = Buffer.allocUnsafeSlow(contentBytes);
    this.decompress(frame, target);
    return target;
  }
}

/** `ZSTD_compressBound`, and some: with less room a frame might have to be continued. */
function frameBytesMax(plainBytes: number): number {
  return plainBytes + Math.ceil(plainBytes / 256) + KIB;
}

function decompressPublicly(frame: Uint8Array, bytesMax: number): Buffer {
  try {
    // A block comes in one piece: nothing has to be joined.
    const chunkSize = Math.min(bytesMax, BLOCK_BYTES) + KIB;
    const params = { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX };
    return zstdDecompressSync(frame, { maxOutputLength: bytesMax, chunkSize, params });
  } catch (error) {
    throw new FrameFault('a frame does not decompress', { cause: error });
  }
}

/**
 * What the header of a frame tells of its content (RFC 8878, 3.1.1), null where it does not. A {@link FrameFault} where these bytes are not exactly one frame:
 * a decompressor would take another one behind it, and not always notice that the end is missing.
 */
function contentBytesOf(frame: Uint8Array): number | null {
  const bytes = asBuffer(frame);
  try {
    if (bytes.readUInt32LE(0) !== MAGIC) throw new FrameFault('a frame begins with its magic');
    const descriptor = bytes.readUInt8(4);
    const isSingleSegment = (descriptor & 0x20) !== 0;
    const sizeAt = 5 + (isSingleSegment ? 0 : 1) + DICTIONARY_ID_BYTES[descriptor & 3]!;
    const sizeBytes = descriptor >> 6 === 0 && isSingleSegment ? 1 : CONTENT_SIZE_BYTES[descriptor >> 6]!;
    let at = sizeAt + sizeBytes;
    for (let isLast = false; !isLast;) {
      const block = bytes.readUIntLE(at, 3);
      isLast = (block & 1) !== 0;
      const isRepeatedByte = ((block >> 1) & 3) === 1;
      at += 3 + (isRepeatedByte ? 1 : block >> 3);
    }
    if (at + ((descriptor & 4) === 0 ? 0 : 4) !== bytes.length) throw new FrameFault('a frame ends elsewhere than its bytes');
    if (sizeBytes === 8) return Number(bytes.readBigUInt64LE(sizeAt));
    if (sizeBytes === 0) return null;
    return bytes.readUIntLE(sizeAt, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new FrameFault('a frame ends before its last block');
  }
}

let isTrusty: boolean | null = null;

/** Whether a kept context does what is asked of it, tried out once: frames in both directions, and again after a frame that is broken. */
function isContextTrusty(): boolean {
  return (isTrusty ??= tryOut());
}

function tryOut(): boolean {
  try {
    const plaintext = Buffer.alloc(BLOCK_BYTES, 'a block that is compressed and decompressed ');
    const known = zstdCompressSync(plaintext);
    const [compressor, decompressor] = [ZstdContext.forCompression(1), ZstdContext.forDecompression()];
    const [frame, target] = [Buffer.alloc(frameBytesMax(BLOCK_BYTES)), Buffer.alloc(BLOCK_BYTES)];
    for (let turn = 0; turn < 2; turn += 1) {
      const length = compressor?.run(plaintext, frame) ?? 0;
      if (!zstdDecompressSync(frame.subarray(0, length), { maxOutputLength: BLOCK_BYTES }).equals(plaintext)) return false;
      target.fill(0);
      if (decompressor?.run(known, target) !== BLOCK_BYTES || !target.equals(plaintext)) return false;
    }
    // What is cut short or goes on must be noticed.
    const broken = [known.subarray(0, -1), Buffer.concat([known, known.subarray(0, 1)])];
    return broken.every((bytes) => ZstdContext.forDecompression()?.run(bytes, target) === null);
  } catch {
    return false;
  }
}
