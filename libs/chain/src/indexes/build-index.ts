import type { ChainId, TenantId } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import { FIRMWARE_DISK } from '../limits.js';
import type { ManifestRef } from '../manifest/manifest.js';
import { ObjectNames } from '../object-names.js';
import type { IndexRef } from './index-ref.js';
import { IndexWriter, type BuiltIndex } from './index-writer.js';
import type { Replacements } from './layer-reader.js';
import type { PageSource } from './page-source.js';
import { PageStack } from './page-stack.js';
import { PathReader } from './path-reader.js';

export interface OpenLayersOptions {
  readonly store: ObjectStore;
  readonly tenantId: TenantId;
  readonly chainId: ChainId;
  /** The newest layer. */
  readonly head: ManifestRef;
  /** The parent of the oldest layer; null at the root. */
  readonly below: ManifestRef | null;
  /** Others that may be read in place of the layers they cover; none that names a segment which compaction dissolved. */
  readonly indexes?: readonly IndexRef[];
  /** References of layers, as the catalogue has them: those that are given need not be found one by one. */
  readonly known?: readonly ManifestRef[];
  readonly replacements?: Replacements;
  /** Reads of the store in flight at once; 8 unless told. */
  readonly parallelism?: number;
  /** For footers and lists; 64 MiB unless told. */
  readonly cacheBytes?: number;
  readonly signal?: AbortSignal;
}

const PARALLELISM = 8;

/** Neighbouring layers of a path, without any key: the pages of all of them, merged, and what an index of them says of itself. */
export async function openLayers(options: OpenLayersOptions) {
  const { store, tenantId, chainId, head, below, indexes = [], known = [], replacements, parallelism = PARALLELISM, cacheBytes } = options;
  const source = { store, names: new ObjectNames(tenantId, chainId), signal: options.signal ?? new AbortController().signal };
  return new PathReader({ source, chainId, keys: null, head, below, indexes, known, replacements, parallelism, cacheBytes }).open();
}

/**
 * Builds the index of some neighbouring layers and stores it: a checkpoint when they begin at the root, else a run. Memory does not grow with the disks.
 * `see` puts another source in the place of each, which says of the same layers where their records are now.
 * Everything it reads is pinned by hash; it fails with what `openView` fails with, and leaves nothing but objects that no reference names.
 */
export async function buildIndex(
  options: OpenLayersOptions,
  see: (source: PageSource) => PageSource = (source) => source,
): Promise<BuiltIndex> {
  const { store, tenantId, chainId, head } = options;
  const { stack: opened, first, cycles } = await openLayers(options);
  const stack = new PageStack(opened.sources.map(see));
  const layers = { chainId, branchId: head.branchId, first, last: head.sequence, cycles, ends: endsOf(stack.sources) };
  const writer = new IndexWriter(store, new ObjectNames(tenantId, chainId), layers);
  for await (const stretch of stack.all()) {
    options.signal?.throwIfAborted();
    await writer.add(stretch);
  }
  return writer.finish();
}

/** Where each disk that all of them have ended when it was smallest. */
function endsOf(sources: readonly PageSource[]): Map<number, number> {
  const ends = new Map<number, number>();
  for (const disk of sources[0]?.disks ?? []) {
    const end = Math.min(...sources.map((source) => source.endOf(disk)));
    if (disk !== FIRMWARE_DISK && end > 0) ends.set(disk, end);
  }
  return ends;
}
