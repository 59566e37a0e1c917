import { MIB } from '#libs/kernel';
import { corrupt } from '../chain-errors.js';
import type { ChainKeys } from '../keys/chain-keys.js';
import type { ListEntry } from '../manifest/list-page.js';
import { decodeListPage, LIST_PAGE_BYTES_MAX } from '../manifest/list-page.js';
import type { Manifest, ManifestList } from '../manifest/manifest.js';
import { openRecord } from '../record.js';
import { SegmentFooter } from '../segment/segment-footer.js';
import { sha256Hex } from '../sha256.js';
import { Limiter } from '../view/read-ahead.js';
import { getPinned, getSegmentRange, type ChainStore } from '../view/view-source.js';
import { ByteCache } from './byte-cache.js';
import { SpanTable } from './span-table.js';

/** What stands for segments that compaction dissolved: their records that live on lie in these, among others' and under their old cycles. */
export type Replacements = ReadonlyMap<string, readonly ListEntry[]>;

export interface LayerReaderOptions {
  readonly source: ChainStore;
  /** Proves zeros; who has none takes them as they are told, as all that a worker builds can be omitted anyway. */
  readonly keys: ChainKeys | null;
  readonly replacements?: Replacements | undefined;
  /** Of the store, in flight at once. */
  readonly parallelism: number;
  /** For footers and lists; 64 MiB unless told. */
  readonly cacheBytes?: number | undefined;
}

/** A segment of a layer: listed by its manifest, or in the place of one that was. */
export interface LayerSegment extends ListEntry {
  readonly isReplacement: boolean;
}

const ENTRY_MEMORY_BYTES = 512;
const CACHE_BYTES = 64 * MIB;

/** Reads lists and footers of any layers of a chain, each pinned by hash, and keeps what was used last. */
export class LayerReader {
  readonly limiter: Limiter;
  readonly #footers: ByteCache<SegmentFooter>;
  readonly #lists: ByteCache<SpanTable<LayerSegment>>;

  constructor(private readonly options: LayerReaderOptions) {
    const cacheBytes = options.cacheBytes ?? CACHE_BYTES;
    this.limiter = new Limiter(options.parallelism);
    this.#footers = new ByteCache(cacheBytes / 2, ({ memoryBytes }) => memoryBytes);
    this.#lists = new ByteCache(cacheBytes / 2, ({ count }) => count * ENTRY_MEMORY_BYTES);
  }

  get source(): ChainStore {
    return this.options.source;
  }

  /** The segments of one page of a manifest's list, with what replaced them. */
  list(manifest: Manifest, { sha256, entryCount }: ManifestList): Promise<SpanTable<LayerSegment>> {
    return this.#lists.get(sha256, async () => {
      const { source } = this;
      const bytes = await this.limiter.run(() =>
        getPinned(source, source.names.list(sha256), sha256, LIST_PAGE_BYTES_MAX, 'view.list-missing'),
      );
      const page = decodeListPage(bytes, manifest);
      if (page.cycle !== manifest.cycle || page.entries.length !== entryCount) {
        throw corrupt('view.broken-path', 'a list page is not the one its manifest means', { sha256 });
      }
      return new SpanTable(this.#standing(page.entries));
    });
  }

  /** The records of a layer in one of its segments. Its own must all be of its cycle; in one that replaced them are others' too. */
  footer(segment: LayerSegment, cycle: bigint): Promise<SegmentFooter> {
    const { sha256, isReplacement } = segment;
    if (!isReplacement) return this.#footers.get(sha256, async () => this.#proven(await this.#read(segment), sha256, cycle));
    return this.#footers.get(`${sha256} ${cycle}`, async () => {
      const whole = await this.#footers.get(`${sha256} whole`, () => this.#read(segment));
      return this.#proven(whole.ofCycle(cycle), sha256, cycle);
    });
  }

  #standing(entries: readonly ListEntry[]): LayerSegment[] {
    const standing = new Map<string, LayerSegment>();
    for (const entry of entries) {
      const replacements = this.options.replacements?.get(entry.sha256);
      for (const one of replacements ?? [entry]) standing.set(one.sha256, { ...one, isReplacement: replacements !== undefined });
    }
    return [...standing.values()];
  }

  /** The list pins each footer by its hash, so a record cannot go missing from it. */
  async #read({ sha256, sizeBytes, footerBytes, footerSha256, recordCount }: LayerSegment): Promise<SegmentFooter> {
    const range = { offset: sizeBytes - footerBytes, length: footerBytes };
    const footer = await this.limiter.run(() => getSegmentRange(this.source, sha256, range));
    if (sha256Hex(footer) !== footerSha256) {
      throw corrupt('view.hash-mismatch', 'a footer is not the one its list means', { segment: sha256 });
    }
    return SegmentFooter.read(footer, { sizeBytes, footerBytes, recordCount });
  }

  #proven(footer: SegmentFooter, segment: string, cycle: bigint): SegmentFooter {
    const { keys } = this.options;
    for (let index = 0; index < footer.count; index += 1) {
      if (footer.cycles[index] !== cycle)
        throw corrupt('view.off-path', 'a record is of a cycle that does not lie on the path', { segment });
      // Data is proven when it is read; zeros never are, so they are proven here.
      if (keys !== null && footer.zeroCounts[index] !== 0) openRecord(footer.zeroRun(index), keys);
    }
    return footer;
  }
}
