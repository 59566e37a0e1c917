import { crc32 } from 'node:zlib';
import type { ChainId } from '#libs/kernel';
import { corrupt } from '../chain-errors.js';
import { FIRMWARE_DISK } from '../limits.js';
import { sha256Hex } from '../sha256.js';
import type { Limiter } from '../view/read-ahead.js';
import { orMissing, type ChainStore } from '../view/view-source.js';
import { IndexFault } from './index-fault.js';
import type { IndexRef } from './index-ref.js';
import { decodeRoot, ROOT_BYTES_MAX, type DecodedRoot } from './index-root.js';
import { Page } from './page.js';
import { decodePage } from './page-codec.js';
import { GRAINS_END, PageSource, type PageStretch } from './page-source.js';

/** A page of an index that has content. */
interface StoredPage {
  readonly part: number;
  readonly offset: number;
  readonly length: number;
  readonly crc: number;
}

/** Many layers as one, by an index. Its root is in memory; pages are read as they are asked for. */
export class IndexSource extends PageSource {
  readonly disks: readonly number[];
  /** Where each disk's pages stand in the directory. */
  readonly #rows = new Map<number, { readonly from: number; to: number }>();
  readonly #parts: Uint32Array;
  readonly #offsets: Uint32Array;

  private constructor(
    private readonly source: ChainStore,
    private readonly limiter: Limiter,
    readonly ref: IndexRef,
    readonly root: DecodedRoot,
    /** Of the root object, if it carries its pages itself. */
    private readonly inline: Buffer,
  ) {
    super();
    const { disks, lengths } = root.directory;
    for (let row = 0; row < disks.length; row += 1) {
      if (row === 0 || disks[row] !== disks[row - 1]) this.#rows.set(disks[row]!, { from: row, to: disks.length });
      if (row > 0 && disks[row] !== disks[row - 1]) this.#rows.get(disks[row - 1]!)!.to = row;
    }
    this.disks = [...new Set([...root.ends.keys(), ...this.#rows.keys(), ...root.zeroPages.map(([disk]) => disk)])].sort((a, b) => a - b);
    this.#parts = new Uint32Array(lengths.length);
    this.#offsets = new Uint32Array(lengths.length);
    let [part, offset] = [0, root.inlineAt];
    if (root.parts.length > 0) offset = 0;
    for (let row = 0; row < lengths.length; row += 1) {
      const length = lengths[row]!;
      if (root.parts.length > 0 && offset + length > root.parts[part]!.sizeBytes) [part, offset] = [part + 1, 0];
      this.#parts[row] = part;
      this.#offsets[row] = offset;
      offset += length;
    }
  }

  /** Reads the root. `index.missing`, `index.hash-mismatch`, and what {@link decodeRoot} refuses; each with the index's name in `details.index`. */
  static async open(source: ChainStore, limiter: Limiter, ref: IndexRef, chainId: ChainId): Promise<IndexSource> {
    return naming(ref, async () => {
      const bytes = await limiter.run(() => readRoot(source, ref));
      const root = decodeRoot(bytes, { chainId });
      const isAsked =
        root.first === ref.first && root.last === ref.last && root.branchId === ref.branchId && root.cycles.at(-1) === ref.lastCycle;
      if (!isAsked) throw corrupt('index.malformed', 'an index is not the one it was taken for');
      return new IndexSource(source, limiter, ref, root, root.parts.length === 0 ? bytes : Buffer.alloc(0));
    });
  }

  get first(): number {
    return this.root.first;
  }

  get last(): number {
    return this.root.last;
  }

  endOf(disk: number): number {
    return disk === FIRMWARE_DISK ? GRAINS_END : (this.root.ends.get(disk) ?? 0);
  }

  async next(disk: number, page: number): Promise<PageStretch | null> {
    const row = this.#firstRowAt(disk, page);
    const { disks, pages } = this.root.directory;
    const stored = row < disks.length && disks[row] === disk ? pages[row]! : Infinity;
    for (const [zeroDisk, first, count] of this.root.zeroPages) {
      if (zeroDisk !== disk || first + count <= page) continue;
      const from = Math.max(first, page);
      if (from >= stored) break;
      return { first: from, count: Math.min(first + count, stored) - from, isZero: true };
    }
    return stored === Infinity ? null : { first: stored, count: 1, isZero: false };
  }

  async page(disk: number, page: number): Promise<Page> {
    const row = this.#firstRowAt(disk, page);
    const { disks, pages, lengths, crcs } = this.root.directory;
    if (row < disks.length && disks[row] === disk && pages[row] === page) {
      const stored = { part: this.#parts[row]!, offset: this.#offsets[row]!, length: lengths[row]!, crc: crcs[row]! };
      return naming(this.ref, async () => decodePage(await this.#read(stored), this.root));
    }
    const isZero = this.root.zeroPages.some(([zeroDisk, first, count]) => zeroDisk === disk && first <= page && page < first + count);
    return isZero ? Page.ZERO : Page.EMPTY;
  }

  async #read({ part, offset, length, crc }: StoredPage): Promise<Buffer> {
    const object = this.root.parts[part];
    let bytes: Buffer;
    if (object === undefined) bytes = this.inline.subarray(offset, offset + length);
    else {
      const { store, names, signal } = this.source;
      bytes = await this.limiter.run(() =>
        orMissing('index.missing', store.get(names.index(object.sha256), { offset, length }, signal), 'index.malformed'),
      );
    }
    if (crc32(bytes) !== crc) throw corrupt('index.hash-mismatch', 'a page of an index is not what its root says');
    return bytes;
  }

  /** The first row of a disk's page or what follows it. */
  #firstRowAt(disk: number, page: number): number {
    const rows = this.#rows.get(disk);
    if (rows === undefined) return this.root.directory.disks.length;
    let [low, high] = [rows.from, rows.to];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.root.directory.pages[middle]! >= page) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** In one read, since its size is known. */
async function readRoot({ store, names, signal }: ChainStore, { sha256, sizeBytes }: IndexRef): Promise<Buffer> {
  signal.throwIfAborted();
  if (sizeBytes > ROOT_BYTES_MAX) throw corrupt('index.too-large', 'the root of an index is larger than any reader takes', { sizeBytes });
  const reading = store.get(names.index(sha256), { offset: 0, length: sizeBytes }, signal);
  const bytes = await orMissing('index.missing', reading, 'index.hash-mismatch');
  if (sha256Hex(bytes) !== sha256) throw corrupt('index.hash-mismatch', 'an object is not what its reference says', { sha256 });
  return bytes;
}

/** Tells which index it was that failed: a reader can do without it. */
async function naming<T>({ sha256 }: IndexRef, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw IndexFault.of(sha256, error);
  }
}
