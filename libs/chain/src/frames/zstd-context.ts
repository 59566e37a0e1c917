import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { KIB } from '#libs/kernel';

/** What lies below Node's zstd streams: one call of zstd's, out of one buffer into another. What fails is told to `onerror`. */
interface Handle {
  writeSync(flush: number, from: Uint8Array, fromAt: number, fromBytes: number, to: Uint8Array, toAt: number, toBytes: number): void;
}

/** Room that a call left in its target, and what it did not take of its source. */
type WriteState = Readonly<Uint32Array>;

/**
 * A zstd context that is kept from frame to frame and writes into the caller's memory. Node's own functions make a context and a buffer for each call,
 * which for a block of 64 KiB takes as long as the work itself; so this uses what they stand on. That is no public interface of Node: {@link ZstdFrames}
 * tries it out before anything relies on it, and does without where it is another than expected.
 */
export class ZstdContext {
  #failure: string | null = null;

  private constructor(
    private readonly handle: Handle,
    private readonly state: WriteState,
  ) {
    Object.assign(handle, { onerror: (message: string) => (this.#failure = message) });
  }

  static forCompression(level: number): ZstdContext | null {
    return ZstdContext.#of(createZstdCompress({ chunkSize: KIB, params: { [constants.ZSTD_c_compressionLevel]: level } }));
  }

  static forDecompression(): ZstdContext | null {
    return ZstdContext.#of(createZstdDecompress({ chunkSize: KIB }));
  }

  static #of(stream: object): ZstdContext | null {
    const { _handle: handle, _writeState: state } = stream as { _handle?: Partial<Handle>; _writeState?: unknown };
    const isKnown = typeof handle?.writeSync === 'function' && state instanceof Uint32Array && state.length === 2;
    return isKnown ? new ZstdContext(handle as Handle, state) : null;
  }

  /**
   * All of `source` as one frame, or as the one frame that it is, into `target`; returns the bytes written, never beyond `target`. Null when that fails or
   * there is not room for it: then the context is in the middle of something and must not be used again.
   */
  run(source: Uint8Array, target: Uint8Array): number | null {
    this.#failure = null;
    this.handle.writeSync(constants.ZSTD_e_end, source, 0, source.length, target, 0, target.length);
    const [roomLeft, sourceLeft] = this.state;
    return this.#failure === null && sourceLeft === 0 ? target.length - roomLeft! : null;
  }
}
