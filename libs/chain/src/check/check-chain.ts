import { CodedError, PlatformError, type Clock } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { corrupt } from '../chain-errors.js';
import { ROOT_BYTES_MAX } from '../indexes/index-root.js';
import { MANIFEST_BYTES_MAX } from '../limits.js';
import { decodeListPage, LIST_PAGE_BYTES_MAX } from '../manifest/list-page.js';
import { decodeManifest } from '../manifest/manifest-codec.js';
import { areSameRefs, referenceTo } from '../manifest/manifest-ref.js';
import type { Manifest } from '../manifest/manifest.js';
import type { ChainLedger, ChainReading, LineageEntry, LiveSegment } from '../maintenance/chain-ledger.js';
import { keptBuckets } from '../maintenance/kept-buckets.js';
import { ObjectNames } from '../object-names.js';
import { SegmentFooter } from '../segment/segment-footer.js';
import { sha256Hex } from '../sha256.js';
import { readAhead } from '../view/read-ahead.js';
import { getPinned, getSegmentRange, type ChainStore } from '../view/view-source.js';
import { AffectedPositions } from './affected-positions.js';
import { hashOfObject } from './hash-of-object.js';

/** An object that is not what it must be. */
export interface FoundDamage {
  readonly kind: 'manifest' | 'list' | 'segment' | 'index';
  /** Below the chain's prefix. */
  readonly object: string;
  readonly code: string;
  readonly message: string;
  /** Cycles of the kept positions that show something of it or cannot be opened without it, ascending. None for an index: it is done without. */
  readonly positions: readonly bigint[];
}

export interface CheckProgress {
  readonly checkedObjects: number;
  readonly totalObjects: number;
  readonly checkedBytes: number;
  readonly totalBytes: number;
  /** The segment up to which every byte was read; the empty text before the first. */
  readonly cursor: string;
}

export interface CheckChainOptions {
  readonly store: ObjectStore;
  readonly ledger: ChainLedger;
  readonly address: ChainAddress;
  /** Reads every byte of every segment, too. */
  readonly bytes: boolean;
  /** Of a check that was cut short while it read bytes, to go on behind it. */
  readonly cursor?: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Told at most about every second, and at the end. */
  readonly onProgress: (progress: CheckProgress) => Promise<void>;
  readonly onDamage: (damage: FoundDamage) => Promise<void>;
}

const PARALLELISM = 4;
const TELL_MS = 1000;

/**
 * Whether all of a chain is there and is what its references say: each manifest and list that a kept position stands on, the footers of every segment
 * that stands, the indexes; with `bytes` all that is in the segments. No key is needed: it shows that nothing was changed since it was acknowledged.
 * What maintenance replaced meanwhile is not missed. Errors of the store beside a missing or broken object end it.
 */
export async function checkChain(options: CheckChainOptions): Promise<void> {
  const reading = await options.ledger.read(options.address);
  await new ChainCheck(options, reading).run();
}

class ChainCheck {
  private readonly source: ChainStore;
  private readonly affected: AffectedPositions;
  private readonly progress: { -readonly [K in keyof CheckProgress]: CheckProgress[K] };
  private toldAtMs = -Infinity;

  constructor(
    private readonly options: CheckChainOptions,
    private readonly reading: ChainReading,
  ) {
    const { store, address, signal, cursor = '' } = options;
    this.source = { store, names: new ObjectNames(address.tenantId, address.chainId), signal };
    this.affected = new AffectedPositions({ store, address, reading, signal });
    this.progress = { checkedObjects: 0, totalObjects: 0, checkedBytes: 0, totalBytes: 0, cursor };
  }

  async run(): Promise<void> {
    const { bytes } = this.options;
    const layers = this.#layers();
    const segments = this.reading.segments.toSorted((a, b) => (a.sha256 < b.sha256 ? -1 : 1));
    const indexObjects = this.reading.indexes.flatMap(({ sha256, parts }) => [sha256, ...parts]);
    this.progress.totalObjects = layers.length + segments.length * (bytes ? 2 : 1) + indexObjects.length;
    this.progress.totalBytes = bytes ? segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) : 0;
    if (this.progress.cursor === '') await this.#checkStructure(layers, segments, indexObjects);
    else this.progress.checkedObjects = layers.length + segments.length + indexObjects.length;
    if (bytes) await this.#checkBytes(segments);
    await this.options.onProgress({ ...this.progress });
  }

  async #checkStructure(layers: readonly LineageEntry[], segments: readonly LiveSegment[], indexObjects: readonly string[]): Promise<void> {
    await this.#each(layers, (layer) => this.#checkLayer(layer));
    await this.#each(segments, (segment) => this.#try('segment', `s/${segment.sha256}`, segment, () => this.#checkFooter(segment)));
    await this.#each(indexObjects, (sha256) =>
      this.#try('index', `x/${sha256}`, null, async () => {
        await getPinned(this.source, this.source.names.index(sha256), sha256, ROOT_BYTES_MAX, 'index.missing', 'index.hash-mismatch');
      }),
    );
  }

  /** The manifests that kept positions stand on: what nothing kept leads to may be gone. */
  #layers(): LineageEntry[] {
    const needed = new Set(keptBuckets(this.reading.lineage, this.reading.kept).flatMap(({ layers }) => layers.map(({ cycle }) => cycle)));
    return this.reading.lineage.filter(({ ref }) => needed.has(ref.cycle));
  }

  async #checkLayer({ ref, parent }: LineageEntry): Promise<void> {
    const { names } = this.source;
    const name = names.manifest(ref).slice(names.prefix.length);
    let manifest: Manifest | undefined;
    await this.#try('manifest', name, ref.cycle, async () => {
      const bytes = await getPinned(this.source, names.manifest(ref), ref.sha256, MANIFEST_BYTES_MAX, 'view.manifest-missing');
      const found = decodeManifest(bytes, { chainId: this.options.address.chainId });
      if (!areSameRefs(referenceTo(found, ref.sha256), ref) || !areSameRefs(found.parent, parent))
        throw corrupt('view.broken-path', 'a manifest is not the one it was taken for', { sha256: ref.sha256 });
      manifest = found;
    });
    for (const { sha256, entryCount } of manifest?.lists ?? []) {
      await this.#try('list', `l/${sha256}`, ref.cycle, async () => {
        const bytes = await getPinned(this.source, names.list(sha256), sha256, LIST_PAGE_BYTES_MAX, 'view.list-missing');
        const page = decodeListPage(bytes, manifest!);
        if (page.cycle !== ref.cycle || page.entries.length !== entryCount)
          throw corrupt('view.broken-path', 'a list page is not the one its manifest means', { sha256 });
      });
    }
  }

  async #checkFooter(segment: LiveSegment): Promise<void> {
    const { sha256, sizeBytes, footerBytes, footerSha256 } = segment;
    // Asked for by itself: who reads may be given what a store keeps open for a while.
    const found = await this.source.store.head(this.source.names.segment(sha256));
    if (found === null) throw new CodedError('view.segment-missing', 'not-found', 'a part of the point is not in the store');
    if (found.sizeBytes !== sizeBytes)
      throw corrupt('segment.truncated', 'a segment has not the length that its list says', { segment: sha256 });
    const bytes = await getSegmentRange(this.source, sha256, { offset: sizeBytes - footerBytes, length: footerBytes });
    if (sha256Hex(bytes) !== footerSha256)
      throw corrupt('view.hash-mismatch', 'a footer is not the one its list means', { segment: sha256 });
    SegmentFooter.read(bytes, segment);
  }

  async #checkBytes(segments: readonly LiveSegment[]): Promise<void> {
    const { cursor } = this.progress;
    const { names } = this.source;
    for (const { sha256, sizeBytes } of segments) {
      if (sha256 > cursor) continue;
      this.progress.checkedObjects += 1;
      this.progress.checkedBytes += sizeBytes;
    }
    const rest = segments.filter(({ sha256 }) => sha256 > cursor);
    await this.#each(rest, async (segment) => {
      const { sha256, sizeBytes } = segment;
      await this.#try('segment', `s/${sha256}`, segment, async () => {
        const found = await hashOfObject(this.source, names.segment(sha256), 'view.segment-missing');
        if (found !== sha256) throw corrupt('segment.hash-mismatch', 'a segment does not have the bytes of its name', { segment: sha256 });
      });
      this.progress.checkedBytes += sizeBytes;
      // They end in the order in which they began, or the cursor would pass one that is still read.
      return () => (this.progress.cursor = sha256);
    });
  }

  /** A few at once; progress in their order. */
  async #each<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
    const { clock, signal, onProgress } = this.options;
    for await (const done of readAhead(items, PARALLELISM - 1, work)) {
      signal.throwIfAborted();
      if (typeof done === 'function') done();
      this.progress.checkedObjects += 1;
      if (clock.monotonicMs() - this.toldAtMs < TELL_MS) continue;
      this.toldAtMs = clock.monotonicMs();
      await onProgress({ ...this.progress });
    }
  }

  /** What is broken or not there is found; what the store cannot do just now is not. */
  async #try(kind: FoundDamage['kind'], object: string, holder: LiveSegment | bigint | null, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.source.signal.throwIfAborted();
      if (!(error instanceof PlatformError) || (error.kind !== 'corrupt' && error.kind !== 'not-found')) throw error;
      if (!(await this.#stillStands(kind, object, holder))) return;
      const positions = holder === null ? [] : await this.affected.by(holder);
      await this.options.onDamage({ kind, object, code: error.code, message: error.message, positions });
    }
  }

  async #stillStands(kind: FoundDamage['kind'], object: string, holder: LiveSegment | bigint | null): Promise<boolean> {
    const now = await this.options.ledger.read(this.options.address);
    switch (kind) {
      case 'segment':
        return now.segments.some(({ sha256 }) => object === `s/${sha256}`);
      case 'index':
        return now.indexes.some(({ sha256, parts }) => [sha256, ...parts].some((name) => object === `x/${name}`));
      default:
        return now.lineage.some(({ ref }) => ref.cycle === holder);
    }
  }
}
