import { CodedError, MIB } from '#libs/kernel';
import { BLOCKS_PER_PAGE, type Page } from '../indexes/page.js';
import { ByteCache } from '../indexes/byte-cache.js';
import { IndexFault } from '../indexes/index-fault.js';
import { PathReader, type OpenedPath } from '../indexes/path-reader.js';
import { BLOCK_BYTES, FIRMWARE_DISK, FULL_MASK, GRAIN_BYTES, GRAINS_PER_BLOCK, TPM_FIRST_BLOCK } from '../limits.js';
import type { Manifest } from '../manifest/manifest.js';
import { ObjectNames } from '../object-names.js';
import { ChainView, PARALLELISM, type Extent, type OpenViewOptions, type ViewDisk } from './chain-view.js';
import { extentsWithin } from './page-extents.js';
import { RecordReader, type WantedRecord } from './record-reader.js';

const CACHE_BYTES = 64 * MIB;
const READ_BYTES_MAX = 64 * MIB;

/**
 * Opens a point: its manifest, the roots of the indexes that cover its path, and the manifests and lists of layers that none covers. Pages of the map
 * are read as they are needed; so what is missing or corrupt in footers shows when a block is read that they tell of.
 *
 * `view.manifest-missing`, `view.segment-missing` (resolve the point again, once), `view.hash-mismatch`, `manifest.mac-mismatch`,
 * `view.broken-path`, `keys.generation-missing`, and `record.*`, `segment.*`, `list.*`, `manifest.*` for what is corrupt.
 */
export async function openView(options: OpenViewOptions): Promise<ChainView> {
  const { store, tenantId, chainId, head, keys, indexes = [], known = [], replacements, onLostIndex, signal } = options;
  const { parallelism = PARALLELISM, cacheBytes = CACHE_BYTES, threads = 0 } = options;
  signal?.throwIfAborted();
  const closing = new AbortController();
  const giveUp = (): void => closing.abort(signal?.reason);
  signal?.addEventListener('abort', giveUp, { once: true });
  try {
    const source = { store, names: new ObjectNames(tenantId, chainId), signal: closing.signal };
    const request = { source, chainId, keys, head, below: null, indexes, known, replacements, onLostIndex, parallelism, cacheBytes };
    const reader = new PathReader(request);
    const path = await reader.open();
    const records = new RecordReader(source, keys, path.cycles, reader.layers.limiter, threads);
    return new SealedChainView(reader, path, records, cacheBytes, closing);
  } finally {
    signal?.removeEventListener('abort', giveUp);
  }
}

/** The records that show within a stretch, and whether they leave nothing of it to zeros. */
interface Wanted {
  readonly records: readonly WantedRecord[];
  readonly fillsAll: boolean;
}

class SealedChainView extends ChainView {
  readonly manifest: Manifest;
  readonly disks: readonly ViewDisk[];
  readonly #pages: ByteCache<Page>;
  readonly #stops = new WeakMap<AbortSignal, AbortSignal>();
  #path: OpenedPath;
  #reopening: Promise<void> | null = null;

  constructor(
    private readonly reader: PathReader,
    path: OpenedPath,
    private readonly records: RecordReader,
    cacheBytes: number,
    private readonly closing: AbortController,
  ) {
    super();
    this.manifest = path.manifest;
    this.#path = path;
    this.#pages = new ByteCache(cacheBytes, ({ memoryBytes }) => memoryBytes);
    this.disks = this.manifest.disks.map((disk) => ({
      ...disk,
      read: (offset, length, signal) => this.read(disk.ordinal, offset, length, signal),
      readInto: (offset, target, signal) => this.readInto(disk.ordinal, offset, target, signal),
      extents: (offset, length) => this.extents(disk.ordinal, offset, length),
    }));
  }

  disk(ordinal: number): ViewDisk {
    const disk = this.disks.find((candidate) => candidate.ordinal === ordinal);
    if (disk === undefined) throw new CodedError('view.no-such-disk', 'not-found', `the point has no disk ${ordinal}`, { ordinal });
    return disk;
  }

  async read(ordinal: number, offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    this.#checkRange(this.disk(ordinal).sizeBytes, offset, length);
    if (length > READ_BYTES_MAX) throw tooLarge(length);
    return this.#readRange(ordinal, offset, length, signal);
  }

  async readInto(ordinal: number, offset: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    this.#checkRange(this.disk(ordinal).sizeBytes, offset, target.length);
    if (target.length > READ_BYTES_MAX) throw tooLarge(target.length);
    const wanted = await this.#wanted(ordinal, offset, target.length, signal);
    if (!wanted.fillsAll) target.fill(0);
    await this.#fetch(wanted, target, offset, signal);
  }

  async extents(ordinal: number, offset: number, length: number): Promise<Extent[]> {
    this.#checkRange(this.disk(ordinal).sizeBytes, offset, length);
    return extentsWithin(this.#path.stack, { disk: ordinal, offset, length }, (disk, page) => this.#page(disk, page));
  }

  async nvram(): Promise<Buffer | null> {
    return this.#firmwarePart(0, this.manifest.vm.nvramBytes);
  }

  async tpm(): Promise<Buffer | null> {
    return this.#firmwarePart(TPM_FIRST_BLOCK, this.manifest.vm.tpmBytes);
  }

  close(): void {
    this.closing.abort(closed());
    this.#pages.clear();
    this.records.close();
  }

  #firmwarePart(firstBlock: number, length: number): Promise<Buffer> | null {
    return length === 0 ? null : this.#readRange(FIRMWARE_DISK, firstBlock * BLOCK_BYTES, length);
  }

  async #readRange(disk: number, offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    const wanted = await this.#wanted(disk, offset, length, signal);
    const result = wanted.fillsAll ? Buffer.allocUnsafeSlow(length) : Buffer.alloc(length);
    await this.#fetch(wanted, result, offset, signal);
    return result;
  }

  async #fetch({ records }: Wanted, target: Uint8Array, offset: number, signal: AbortSignal | undefined): Promise<void> {
    if (records.length > 0) await this.records.fetch(records, target, offset, this.#stopOf(signal));
  }

  /** The same for every read under one signal, since to make one takes as long as a small read. */
  #stopOf(signal: AbortSignal | undefined): AbortSignal {
    if (signal === undefined) return this.closing.signal;
    let stop = this.#stops.get(signal);
    if (stop === undefined) {
      stop = AbortSignal.any([signal, this.closing.signal]);
      this.#stops.set(signal, stop);
    }
    return stop;
  }

  /** The records that show within a stretch. */
  async #wanted(disk: number, offset: number, length: number, signal: AbortSignal | undefined): Promise<Wanted> {
    if (length === 0) return { records: [], fillsAll: true };
    const firstBlock = Math.floor(offset / BLOCK_BYTES);
    const lastBlock = Math.floor((offset + length - 1) / BLOCK_BYTES);
    const firstPage = Math.floor(firstBlock / BLOCKS_PER_PAGE);
    const pageCount = Math.floor(lastBlock / BLOCKS_PER_PAGE) - firstPage + 1;
    const stop = this.#stopOf(signal);
    stop.throwIfAborted();
    const pages: Page[] = [];
    for (let index = firstPage; index < firstPage + pageCount; index += 1) {
      const held = this.#pages.held(pageName(disk, index));
      if (held !== undefined) pages.push(held);
    }
    if (pages.length < pageCount) {
      const loading = Promise.all(Array.from({ length: pageCount }, (_, index) => this.#page(disk, firstPage + index)));
      pages.splice(0, pages.length, ...(await unless(stop, loading)));
    }
    const records: WantedRecord[] = [];
    let fullCount = 0;
    for (let block = firstBlock; block <= lastBlock; block += 1) {
      const page = pages[Math.floor(block / BLOCKS_PER_PAGE) - firstPage]!;
      for (const place of page.recordsOf(block % BLOCKS_PER_PAGE, grainsWithin(block, offset, length))) {
        records.push({ ...place, disk, block });
        if (place.visible === FULL_MASK) fullCount += 1;
      }
    }
    return { records, fillsAll: fullCount === lastBlock + 1 - firstBlock };
  }

  /** A page of the map. An index that fails is done without from then on: what it said, its layers say too. */
  async #page(disk: number, page: number): Promise<Page> {
    for (;;) {
      const path = this.#path;
      try {
        return await this.#pages.get(pageName(disk, page), () => path.stack.page(disk, page));
      } catch (error) {
        if (!(error instanceof IndexFault)) throw error;
        this.reader.exclude(error.index);
        if (this.#path === path) await (this.#reopening ??= this.#reopen());
      }
    }
  }

  async #reopen(): Promise<void> {
    try {
      this.#path = await this.reader.open();
    } finally {
      this.#reopening = null;
    }
  }

  #checkRange(sizeBytes: number, offset: number, length: number): void {
    this.closing.signal.throwIfAborted();
    const isInside =
      Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0 && offset + length <= sizeBytes;
    if (!isInside) throw new CodedError('view.out-of-range', 'invalid', 'a read lies inside its disk', { offset, length, sizeBytes });
  }
}

function pageName(disk: number, page: number): string {
  return `${disk} ${page}`;
}

/** The grains of a block that a stretch of bytes touches. */
function grainsWithin(block: number, offset: number, length: number): number {
  const firstGrain = block * GRAINS_PER_BLOCK;
  const from = Math.max(0, Math.floor(offset / GRAIN_BYTES) - firstGrain);
  const to = Math.min(GRAINS_PER_BLOCK, Math.ceil((offset + length) / GRAIN_BYTES) - firstGrain);
  return ((FULL_MASK >> (GRAINS_PER_BLOCK - (to - from))) << from) & FULL_MASK;
}

/** Work that others may share goes on; only the wait for it ends. */
async function unless<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  work.catch(() => {});
  let stop = (): void => {};
  try {
    return await new Promise<T>((resolve, reject) => {
      stop = () => reject(signal.reason as Error);
      signal.throwIfAborted();
      signal.addEventListener('abort', stop, { once: true });
      work.then(resolve, reject);
    });
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function tooLarge(length: number): CodedError {
  return new CodedError('view.read-too-large', 'invalid', 'one read gives at most 64 MiB', { length });
}

function closed(): CodedError {
  return new CodedError('view.closed', 'conflict', 'the view is closed');
}
