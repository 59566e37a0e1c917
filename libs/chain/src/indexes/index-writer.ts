import { crc32 } from 'node:zlib';
import { KIB, type BranchId, type ChainId } from '#libs/kernel';
import { putBytes, type ObjectStore } from '#libs/object-store';
import type { ObjectNames } from '../object-names.js';
import { sha256Hex } from '../sha256.js';
import type { IndexRef } from './index-ref.js';
import { encodeRoot, PART_BYTES_MAX } from './index-root.js';
import { encodePage } from './page-codec.js';
import type { MergedStretch } from './page-stack.js';

/** What an index says of the layers it covers. */
export interface CoveredLayers {
  readonly chainId: ChainId;
  readonly branchId: BranchId;
  readonly first: number;
  readonly last: number;
  readonly cycles: BigUint64Array;
  readonly ends: ReadonlyMap<number, number>;
}

/** An index that was stored just now. */
export interface BuiltIndex extends IndexRef {
  /** SHA-256 of the objects beside the root. */
  readonly parts: readonly string[];
}

/** Pages together no larger than this are carried by the root: a small index is one object. */
const INLINE_BYTES_MAX = 256 * KIB;

/** Packs pages into parts as they come, and writes the root in the end. Holds one part and the directory. */
export class IndexWriter {
  readonly #disks: number[] = [];
  readonly #pages: number[] = [];
  readonly #lengths: number[] = [];
  readonly #crcs: number[] = [];
  readonly #zeroPages: [disk: number, first: number, count: number][] = [];
  readonly #parts: { sha256: string; sizeBytes: number }[] = [];
  #filling: Buffer[] = [];
  #fillingBytes = 0;

  constructor(
    private readonly store: ObjectStore,
    private readonly names: ObjectNames,
    private readonly layers: CoveredLayers,
  ) {}

  /** Ascending by disk and page. */
  async add({ disk, first, count, page }: MergedStretch): Promise<void> {
    if (page.isZero) {
      this.#addZeroPages(disk, first, count);
      return;
    }
    const stored = encodePage(page, this.layers.first);
    if (this.#fillingBytes + stored.length > PART_BYTES_MAX) await this.#flush();
    this.#disks.push(disk);
    this.#pages.push(first);
    this.#lengths.push(stored.length);
    this.#crcs.push(crc32(stored));
    this.#filling.push(stored);
    this.#fillingBytes += stored.length;
  }

  /** Parts first, then the root: whoever finds a root finds what it names. */
  async finish(): Promise<BuiltIndex> {
    const isInline = this.#parts.length === 0 && this.#fillingBytes <= INLINE_BYTES_MAX;
    if (!isInline) await this.#flush();
    const directory = {
      disks: Uint16Array.from(this.#disks),
      pages: Uint32Array.from(this.#pages),
      lengths: Uint32Array.from(this.#lengths),
      crcs: Uint32Array.from(this.#crcs),
    };
    const { chainId, branchId, first, last, cycles, ends } = this.layers;
    const root = encodeRoot(
      { chainId, branchId, first, last, cycles, ends, directory, zeroPages: this.#zeroPages, parts: this.#parts },
      isInline ? this.#filling : [],
    );
    const sha256 = sha256Hex(root);
    await putBytes(this.store, this.names.index(sha256), root);
    const bytes = this.#parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, root.length);
    return {
      sha256,
      sizeBytes: root.length,
      first,
      last,
      lastCycle: cycles.at(-1)!,
      branchId,
      bytes,
      parts: this.#parts.map((part) => part.sha256),
    };
  }

  #addZeroPages(disk: number, first: number, count: number): void {
    const before = this.#zeroPages.at(-1);
    if (before !== undefined && before[0] === disk && before[1] + before[2] === first) before[2] += count;
    else this.#zeroPages.push([disk, first, count]);
  }

  async #flush(): Promise<void> {
    if (this.#filling.length === 0) return;
    const bytes = Buffer.concat(this.#filling, this.#fillingBytes);
    const sha256 = sha256Hex(bytes);
    await putBytes(this.store, this.names.index(sha256), bytes);
    this.#parts.push({ sha256, sizeBytes: bytes.length });
    this.#filling = [];
    this.#fillingBytes = 0;
  }
}
