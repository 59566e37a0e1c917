import { PlatformError } from '#libs/kernel';
import { hashOfObject } from '../check/hash-of-object.js';
import { corrupt } from '../chain-errors.js';
import { MANIFEST_BYTES_MAX } from '../limits.js';
import { decodeListPage, LIST_PAGE_BYTES_MAX } from '../manifest/list-page.js';
import { decodeManifest } from '../manifest/manifest-codec.js';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { getPinned, type ChainStore } from '../view/view-source.js';
import type { ChainReading, IndexEntry, LineageEntry, LiveSegment, SnapshotDocument } from './chain-ledger.js';
import { keptBuckets } from './kept-buckets.js';
import { nameOfSegment, nameOfSnapshot, namesOfIndex } from './names.js';
import type { Damage, Verification } from './scrub-ledger.js';
import { readSnapshot } from './snapshots.js';
import { unpinnedKindOf, verifyUnpinned, type UnpinnedKind } from './unpinned-objects.js';

/** What is verified at once. A manifest stands for its lists too, and the newest snapshot for those it follows. */
export type ScrubObject = { readonly name: string } & (
  | { readonly kind: 'segment'; readonly segment: LiveSegment }
  | { readonly kind: 'manifest'; readonly layer: LineageEntry }
  | { readonly kind: 'index'; readonly sha256: string; readonly of: readonly IndexEntry[] }
  | { readonly kind: 'snapshot'; readonly document: SnapshotDocument }
  | { readonly kind: UnpinnedKind }
);

/** What is wrong with an object, before anybody asked to whom it matters. */
export type Fault = Pick<Damage, 'name' | 'kind' | 'layer' | 'code' | 'message'>;

/** All of a chain that something kept refers to, and what no reference pins, by name. What is doomed is none of it. */
export function objectsOf(reading: ChainReading, source: ChainStore, unpinned: readonly string[]): Map<string, ScrubObject> {
  const objects: ScrubObject[] = reading.segments.map((segment) => ({ kind: 'segment', name: nameOfSegment(segment.sha256), segment }));
  const needed = new Set(keptBuckets(reading.lineage, reading.kept).flatMap(({ layers }) => layers.map(({ cycle }) => cycle)));
  for (const layer of reading.lineage) {
    const name = source.names.manifest(layer.ref).slice(source.names.prefix.length);
    if (needed.has(layer.ref.cycle)) objects.push({ kind: 'manifest', name, layer });
  }
  const indexes = new Map<string, IndexEntry[]>();
  for (const index of reading.indexes) for (const name of namesOfIndex(index)) indexes.set(name, [...(indexes.get(name) ?? []), index]);
  for (const [name, of] of indexes) objects.push({ kind: 'index', name, sha256: name.slice(2), of });
  if (reading.snapshot !== null) objects.push({ kind: 'snapshot', name: nameOfSnapshot(reading.snapshot), document: reading.snapshot });
  for (const name of unpinned) {
    const kind = unpinnedKindOf(name);
    if (kind !== undefined) objects.push({ kind, name });
  }
  return new Map(objects.map((object) => [object.name, object]));
}

/** Reads all of an object against what refers to it. `faults` are what is broken or gone; what the store cannot do just now is thrown. */
export class ObjectVerifier {
  constructor(
    private readonly source: ChainStore,
    private readonly address: ChainAddress,
  ) {}

  async verify(object: ScrubObject, known: string | null): Promise<{ readonly faults: Fault[]; readonly verified: Verification }> {
    const { name } = object;
    const faults: Fault[] = [];
    let sha256: string | null = null;
    const attempt = async (part: Pick<Fault, 'name' | 'kind' | 'layer'>, work: () => Promise<unknown>): Promise<void> => {
      try {
        await work();
      } catch (error) {
        this.source.signal.throwIfAborted();
        if (!isMissingOrCorrupt(error)) throw error;
        faults.push({ ...part, code: error.code, message: error.message });
      }
    };
    switch (object.kind) {
      case 'segment':
        await attempt({ name, kind: 'segment', layer: null }, () => this.#hash(name, object.segment.sha256, 'view.segment-missing'));
        break;
      case 'index':
        await attempt({ name, kind: 'index', layer: null }, () => this.#hash(name, object.sha256, 'index.missing'));
        break;
      case 'manifest':
        await this.#layer(object.layer, name, attempt);
        break;
      case 'snapshot':
        await attempt({ name, kind: 'snapshot', layer: null }, () =>
          readSnapshot({ ...this.source, chainId: this.address.chainId }, object.document),
        );
        break;
      default:
        await attempt({ name, kind: object.kind, layer: null }, async () => {
          sha256 = await verifyUnpinned(this.source, this.address, name, known);
        });
    }
    return { faults, verified: { name, sha256 } };
  }

  async #hash(name: string, expected: string, missingCode: string): Promise<void> {
    const found = await hashOfObject(this.source, this.source.names.prefix + name, missingCode);
    if (found !== expected) throw corrupt('view.hash-mismatch', 'an object is not what its reference says', { object: name });
  }

  async #layer(
    { ref }: LineageEntry,
    name: string,
    attempt: (part: Pick<Fault, 'name' | 'kind' | 'layer'>, work: () => Promise<unknown>) => Promise<void>,
  ): Promise<void> {
    const { source } = this;
    const layer = ref.cycle;
    let lists: readonly { readonly sha256: string }[] = [];
    await attempt({ name, kind: 'manifest', layer }, async () => {
      const bytes = await getPinned(source, source.names.prefix + name, ref.sha256, MANIFEST_BYTES_MAX, 'view.manifest-missing');
      lists = decodeManifest(bytes, this.address).lists;
    });
    for (const { sha256 } of lists)
      await attempt({ name: `l/${sha256}`, kind: 'list', layer }, async () => {
        const bytes = await getPinned(source, source.names.list(sha256), sha256, LIST_PAGE_BYTES_MAX, 'view.list-missing');
        decodeListPage(bytes, this.address);
      });
  }
}

export function isMissingOrCorrupt(error: unknown): error is PlatformError {
  return error instanceof PlatformError && (error.kind === 'corrupt' || error.kind === 'not-found');
}
