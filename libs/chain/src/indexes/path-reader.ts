import { assert, CodedError, type ChainId } from '#libs/kernel';
import { corrupt } from '../chain-errors.js';
import type { ChainKeys } from '../keys/chain-keys.js';
import { MANIFEST_BYTES_MAX } from '../limits.js';
import { decodeManifest, verifyManifest } from '../manifest/manifest-codec.js';
import { areSameRefs, PathHash, referenceTo } from '../manifest/manifest-ref.js';
import type { Manifest, ManifestRef } from '../manifest/manifest.js';
import { getPinned, type ChainStore } from '../view/view-source.js';
import { IndexFault } from './index-fault.js';
import type { IndexRef } from './index-ref.js';
import { IndexSource } from './index-source.js';
import { LayerReader, type Replacements } from './layer-reader.js';
import { LayerSource } from './layer-source.js';
import { PageStack } from './page-stack.js';
import { coverPositions } from './plan-indexes.js';

export interface PathOptions {
  readonly source: ChainStore;
  readonly chainId: ChainId;
  /** Authenticate manifests and prove zeros. A worker has none, and takes what the hashes pin. */
  readonly keys: ChainKeys | null;
  /** The newest manifest of the path. */
  readonly head: ManifestRef;
  /** The ancestor below which nothing is read; null for the whole path. `chain.not-an-ancestor` when the path does not lead there. */
  readonly below: ManifestRef | null;
  /** Any that lie on the path; those that do not, or that fail, are done without. */
  readonly indexes: readonly IndexRef[];
  /** Manifests on the path that are worth asking for at once; whatever is needed beside them is found from child to parent. */
  readonly known: readonly ManifestRef[];
  readonly replacements?: Replacements | undefined;
  /** Told of each index that fails: it is done without, and its layers are read from footers. */
  readonly onLostIndex?: ((sha256: string) => void) | undefined;
  readonly parallelism: number;
  readonly cacheBytes?: number | undefined;
}

/** The layers of a path from its head down, ready to be looked up. */
export interface OpenedPath {
  readonly manifest: Manifest;
  readonly stack: PageStack;
  readonly first: number;
  /** Of every position from `first` on. */
  readonly cycles: BigUint64Array;
}

/** What was told about a path does not add up to the head's own word. */
class PathMismatch extends Error {}

/**
 * Opens a path: its head, as few indexes as cover it, and the footers of the layers that none covers. Whatever an index or a reference says, the cycles
 * of all layers together must hash to the path that the head's authentic manifest names, so nothing beside it can come into view.
 */
export class PathReader {
  readonly layers: LayerReader;
  readonly #manifests = new Map<string, Promise<Manifest>>();
  readonly #failed = new Set<string>();

  constructor(private readonly options: PathOptions) {
    const { source, keys, replacements, parallelism, cacheBytes } = options;
    this.layers = new LayerReader({ source, keys, replacements, parallelism, cacheBytes });
  }

  /** Goes without an index that failed from now on. */
  exclude(index: string): void {
    this.#failed.add(index);
    this.options.onLostIndex?.(index);
  }

  /** Every index that turns out to be unusable is left out, until none is left. */
  async open(): Promise<OpenedPath> {
    for (;;) {
      const indexes = this.options.indexes.filter(({ sha256 }) => !this.#failed.has(sha256));
      try {
        return await this.#attempt(indexes, this.options.known);
      } catch (error) {
        if (error instanceof IndexFault) this.exclude(error.index);
        else if (error instanceof PathMismatch) return this.#withoutHelp();
        else throw error;
      }
    }
  }

  /** From child to parent alone: slow, and right or refused. */
  async #withoutHelp(): Promise<OpenedPath> {
    for (const { sha256 } of this.options.indexes) this.#failed.add(sha256);
    try {
      return await this.#attempt([], []);
    } catch (error) {
      if (!(error instanceof PathMismatch)) throw error;
      if (this.options.below !== null) throw notAnAncestor();
      throw corrupt('view.broken-path', 'the cycles of a path are not those that its head names');
    }
  }

  async #attempt(indexes: readonly IndexRef[], known: readonly ManifestRef[]): Promise<OpenedPath> {
    const { head, below, source, chainId } = this.options;
    const first = below === null ? 0 : below.sequence + 1;
    if (first > head.sequence && !areSameRefs(head, below)) throw notAnAncestor();
    const plan = coverPositions(indexes, head.sequence, first);
    const walk = new Map([...known, head].map((ref) => [ref.sequence, ref]));
    const [manifest, indexSources, layerSources] = await allOf([
      this.manifest(head),
      allOf(plan.indexes.map((ref) => IndexSource.open(source, this.layers.limiter, ref, chainId))),
      this.#openLayers(plan.layers, walk),
    ]);
    const sources = [...indexSources, ...layerSources].sort((a, b) => a.last - b.last);
    return { manifest, first, cycles: this.#follow(sources, first), stack: new PageStack(sources.reverse()) };
  }

  async #openLayers(positions: readonly number[], refs: Map<number, ManifestRef>): Promise<LayerSource[]> {
    for (const position of positions) {
      const ref = refs.get(position);
      // Awaited in its turn below; until then a failure must not count as unhandled.
      if (ref !== undefined) this.manifest(ref).catch(() => {});
    }
    const opening: Promise<LayerSource>[] = [];
    for (const position of positions.toReversed()) {
      const opened = this.#manifestAt(position, refs).then((manifest) => LayerSource.open(this.layers, manifest));
      opened.catch(() => {});
      opening.push(opened);
      // The next one may be found from this one's parent.
      if (position > positions[0]! && !refs.has(position - 1)) await this.#manifestAt(position, refs);
    }
    return allOf(opening);
  }

  /** The manifest at a position, from the nearest newer one that is known. */
  async #manifestAt(position: number, refs: Map<number, ManifestRef>): Promise<Manifest> {
    let from = position;
    while (!refs.has(from)) from += 1;
    for (;;) {
      const manifest = await this.manifest(refs.get(from)!);
      const { parent } = manifest;
      if (parent !== null && !refs.has(parent.sequence)) refs.set(parent.sequence, parent);
      if (from === position) return manifest;
      from -= 1;
    }
  }

  /** One manifest, authentic where there are keys, and what its child (or the caller) pinned. */
  manifest(ref: ManifestRef): Promise<Manifest> {
    let loading = this.#manifests.get(ref.sha256);
    if (loading === undefined) {
      loading = this.#load(ref);
      this.#manifests.set(ref.sha256, loading);
    }
    return loading;
  }

  async #load(ref: ManifestRef): Promise<Manifest> {
    const { source, keys, chainId } = this.options;
    const bytes = await this.layers.limiter.run(() =>
      getPinned(source, source.names.manifest(ref), ref.sha256, MANIFEST_BYTES_MAX, 'view.manifest-missing'),
    );
    const manifest = keys === null ? decodeManifest(bytes, { chainId }) : verifyManifest(bytes, keys);
    if (!areSameRefs(referenceTo(manifest, ref.sha256), ref)) {
      throw corrupt('view.broken-path', 'a manifest is not the one it was taken for', { sha256: ref.sha256 });
    }
    return manifest;
  }

  /** The cycles from the oldest source to the newest, which must lead from the path below to that of the head. */
  #follow(ascending: readonly (IndexSource | LayerSource)[], first: number): BigUint64Array {
    const { head, below } = this.options;
    const cycles = new BigUint64Array(head.sequence + 1 - first);
    const path = new PathHash(below?.path ?? null);
    let position = first;
    for (const source of ascending) {
      if (source instanceof LayerSource && (source.manifest.parent?.path ?? null) !== path.hex) throw new PathMismatch();
      const told = source instanceof LayerSource ? BigUint64Array.of(source.manifest.cycle) : source.root.cycles;
      // An index may begin before the one below it ends: of that they must tell the same.
      const known = position - source.first;
      assert(known >= 0, 'the sources leave no position out');
      for (let at = 0; at < known; at += 1) if (cycles[source.first + at - first] !== told[at]) throw new PathMismatch();
      cycles.set(told.subarray(known), position - first);
      if (source instanceof IndexSource && known === 0) path.extendAlong(source.ref.sha256, told);
      else for (const cycle of told.subarray(known)) path.extend(cycle);
      position = source.last + 1;
    }
    if (path.hex !== head.path) throw new PathMismatch();
    return cycles;
  }
}

/** Like `Promise.all`, but nothing is left running when it fails. */
async function allOf<const T extends readonly unknown[]>(promises: T): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

function notAnAncestor(): CodedError {
  return new CodedError('chain.not-an-ancestor', 'invalid', 'the older point does not lie on the path of the newer one');
}
