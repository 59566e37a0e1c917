import { CodedError, MIB } from '#libs/kernel';
import { BLOCK_BYTES, FIRMWARE_DISK, FULL_MASK, GRAIN_BYTES, GRAINS_PER_BLOCK, TPM_FIRST_BLOCK } from '../limits.js';
import type { Manifest } from '../manifest/manifest.js';
import { ObjectNames } from '../object-names.js';
import type { OpenedRecord } from '../record.js';
import { grainCount } from '../record-header.js';
import type { BlockMap } from './block-map.js';
import { ChainView, type Extent, type OpenViewOptions, type ViewDisk } from './chain-view.js';
import { loadBlockMaps, type LoadedMaps } from './load-block-maps.js';
import { RecordReader, type WantedRecord } from './record-reader.js';
import type { ViewSource } from './view-source.js';

export const RECORDS_MAX = 2 ** 25;
export const PARALLELISM = 8;
const READ_BYTES_MAX = 64 * MIB;

/**
 * Opens a point. Reads every manifest and list page from `head` to the root and the footer of every segment.
 *
 * `view.manifest-missing`, `view.segment-missing` (resolve the point again, once), `view.hash-mismatch`, `manifest.mac-mismatch`,
 * `view.broken-path`, `view.too-large`, `keys.generation-missing`, and `record.*`, `segment.*`, `list.*`, `manifest.*` for what is corrupt.
 */
export async function openView(options: OpenViewOptions): Promise<ChainView> {
  const { store, tenantId, chainId, head, keys, recordsMax = RECORDS_MAX, parallelism = PARALLELISM } = options;
  const names = new ObjectNames(tenantId, chainId);
  const opening = { store, names, keys, signal: options.signal ?? new AbortController().signal };
  const loaded = await loadBlockMaps({ source: opening, head, recordsMax, parallelism });
  return new SealedChainView({ store, names, keys }, loaded, parallelism);
}

class SealedChainView extends ChainView {
  readonly manifest: Manifest;
  readonly disks: readonly ViewDisk[];
  readonly #closing = new AbortController();
  readonly #reader: RecordReader;
  #maps: ReadonlyMap<number, BlockMap>;

  constructor(source: Omit<ViewSource, 'signal'>, { manifest, maps, segments }: LoadedMaps, parallelism: number) {
    super();
    this.manifest = manifest;
    this.#maps = maps;
    this.#reader = new RecordReader({ ...source, signal: this.#closing.signal }, segments, parallelism);
    this.disks = manifest.disks.map((disk) => ({
      ...disk,
      read: (offset, length, signal) => this.read(disk.ordinal, offset, length, signal),
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
    if (length > READ_BYTES_MAX) throw new CodedError('view.read-too-large', 'invalid', 'one read gives at most 64 MiB', { length });
    return this.#readRange(ordinal, offset, length, signal);
  }

  async extents(ordinal: number, offset: number, length: number): Promise<Extent[]> {
    this.#checkRange(this.disk(ordinal).sizeBytes, offset, length);
    return extentsOf(this.#map(ordinal), offset, length);
  }

  async nvram(): Promise<Buffer | null> {
    return this.#firmwarePart(0, this.manifest.vm.nvramBytes);
  }

  async tpm(): Promise<Buffer | null> {
    return this.#firmwarePart(TPM_FIRST_BLOCK, this.manifest.vm.tpmBytes);
  }

  close(): void {
    this.#closing.abort(closed());
    this.#maps = new Map();
  }

  #firmwarePart(firstBlock: number, length: number): Promise<Buffer> | null {
    return length === 0 ? null : this.#readRange(FIRMWARE_DISK, firstBlock * BLOCK_BYTES, length);
  }

  async #readRange(disk: number, offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    const result = Buffer.alloc(length);
    if (length === 0) return result;
    const map = this.#map(disk);
    const wanted: WantedRecord[] = [];
    const lastBlock = Math.floor((offset + length - 1) / BLOCK_BYTES);
    for (let block = Math.floor(offset / BLOCK_BYTES); block <= lastBlock; block += 1) {
      for (const place of map.recordsOf(block, grainsWithin(block, offset, length))) wanted.push({ ...place, disk, block });
    }
    if (wanted.length === 0) return result;
    const stop = signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal]);
    await this.#reader.fetch(wanted, stop, (record, opened) => copyVisible(record, opened, result, offset));
    return result;
  }

  #map(ordinal: number): BlockMap {
    const map = this.#maps.get(ordinal);
    if (map === undefined) throw closed();
    return map;
  }

  #checkRange(sizeBytes: number, offset: number, length: number): void {
    this.#closing.signal.throwIfAborted();
    const isInside =
      Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0 && offset + length <= sizeBytes;
    if (!isInside) throw new CodedError('view.out-of-range', 'invalid', 'a read lies inside its disk', { offset, length, sizeBytes });
  }
}

/** What a map says was written within a stretch of bytes, cut to it. */
export function extentsOf(map: BlockMap, offset: number, length: number): Extent[] {
  const end = offset + length;
  return map.extents(Math.floor(offset / GRAIN_BYTES), Math.ceil(end / GRAIN_BYTES)).map(({ from, to, zero }) => {
    const start = Math.max(from * GRAIN_BYTES, offset);
    return { offset: start, length: Math.min(to * GRAIN_BYTES, end) - start, zero };
  });
}

/** The grains of a block that a stretch of bytes touches. */
function grainsWithin(block: number, offset: number, length: number): number {
  const firstGrain = block * GRAINS_PER_BLOCK;
  const from = Math.max(0, Math.floor(offset / GRAIN_BYTES) - firstGrain);
  const to = Math.min(GRAINS_PER_BLOCK, Math.ceil((offset + length) / GRAIN_BYTES) - firstGrain);
  return ((FULL_MASK >> (GRAINS_PER_BLOCK - (to - from))) << from) & FULL_MASK;
}

/** Copies the grains a record owns, as far as they lie in `result`, which begins at byte `offset` of the disk. */
function copyVisible({ block, visible }: WantedRecord, { header, plaintext }: OpenedRecord, result: Buffer, offset: number): void {
  for (let grain = 0; grain < GRAINS_PER_BLOCK; grain += 1) {
    if (((visible >> grain) & 1) === 0) continue;
    const sourceAt = grainCount(header.mask & ((1 << grain) - 1)) * GRAIN_BYTES;
    const targetAt = block * BLOCK_BYTES + grain * GRAIN_BYTES - offset;
    const skip = Math.max(0, -targetAt);
    if (skip >= GRAIN_BYTES || targetAt >= result.length) continue;
    plaintext.copy(result, targetAt + skip, sourceAt + skip, sourceAt + GRAIN_BYTES);
  }
}

function closed(): CodedError {
  return new CodedError('view.closed', 'conflict', 'the view is closed');
}
