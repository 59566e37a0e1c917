import { assert, KIB } from '#libs/kernel';

/** What is cached is kept in lines of this size, as the chain's blocks are. */
export const LINE_BYTES = 64 * KIB;

/** Every line of zeros is this one. */
export const ZERO_LINE: Buffer = Buffer.alloc(LINE_BYTES);

/** Lines of one disk, numbered so that no other disk's lie among them. */
const LINES_PER_SPACE = 2 ** 30;
/** What a line takes beside its bytes: its place in the map. */
const LINE_OVERHEAD_BYTES = 128;

/**
 * Plaintext of disks in memory, shared by all disks that a replica node serves: the least recently used lines go first. Bounded by bytes.
 */
export class BlockCache {
  /** In order of use. */
  readonly #lines = new Map<number, Buffer>();
  #nextSpace = 0;
  #heldBytes = 0;

  constructor(private readonly capacityBytes: number) {
    assert(capacityBytes >= 0, 'a cache has room for no bytes or more');
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Room for one disk. Its content never changes; another disk, or another point, takes another space. */
  openSpace(): CacheSpace {
    const first = this.#nextSpace * LINES_PER_SPACE;
    this.#nextSpace += 1;
    return {
      get: (line) => this.#get(first + line),
      has: (line) => this.#lines.has(first + line),
      put: (line, bytes) => this.#put(first + line, bytes),
      close: () => this.#dropBetween(first, first + LINES_PER_SPACE),
    };
  }

  #get(key: number): Buffer | undefined {
    const bytes = this.#lines.get(key);
    if (bytes === undefined) return undefined;
    this.#lines.delete(key);
    this.#lines.set(key, bytes);
    return bytes;
  }

  #put(key: number, bytes: Buffer): void {
    this.#drop(key);
    this.#lines.set(key, bytes);
    this.#heldBytes += costOf(bytes);
    for (const oldest of this.#lines.keys()) {
      if (this.#heldBytes <= this.capacityBytes) return;
      this.#drop(oldest);
    }
  }

  #drop(key: number): void {
    const bytes = this.#lines.get(key);
    if (bytes === undefined) return;
    this.#lines.delete(key);
    this.#heldBytes -= costOf(bytes);
  }

  #dropBetween(from: number, to: number): void {
    for (const key of this.#lines.keys()) if (key >= from && key < to) this.#drop(key);
  }
}

/** One disk's part of a {@link BlockCache}. Buffers are shared: nobody writes into them. */
export interface CacheSpace {
  /** Counts as a use. */
  get(line: number): Buffer | undefined;
  has(line: number): boolean;
  put(line: number, bytes: Buffer): void;
  /** Gives all its lines up. */
  close(): void;
}

function costOf(bytes: Buffer): number {
  return LINE_OVERHEAD_BYTES + (bytes.buffer === ZERO_LINE.buffer ? 0 : bytes.length);
}
