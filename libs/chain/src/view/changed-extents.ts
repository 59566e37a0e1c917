import { CodedError } from '#libs/kernel';
import { FIRMWARE_DISK, GRAIN_BYTES } from '../limits.js';
import { GRAINS_END, PageSource } from '../indexes/page-source.js';
import { Page } from '../indexes/page.js';
import { PageStack } from '../indexes/page-stack.js';
import { IndexFault } from '../indexes/index-fault.js';
import { PathReader } from '../indexes/path-reader.js';
import type { ChainKeys } from '../keys/chain-keys.js';
import type { Manifest, ManifestRef } from '../manifest/manifest.js';
import { ObjectNames } from '../object-names.js';
import { PARALLELISM, type Extent, type OpenViewOptions } from './chain-view.js';
import { extentsWithin } from './page-extents.js';

export interface ChangesOptions extends Omit<OpenViewOptions, 'head' | 'keys'> {
  /** An ancestor of `to`: `chain.not-an-ancestor` otherwise. */
  readonly from: ManifestRef;
  readonly to: ManifestRef;
  /** Null for whoever has none, and takes what the hashes pin: nothing is opened here. */
  readonly keys: ChainKeys | null;
}

export interface ChangedExtentsOptions extends ChangesOptions {
  readonly disk: number;
}

/** Two points of one path, ready to be asked what changed between them. */
export interface Changes {
  readonly older: Manifest;
  readonly newer: Manifest;
  /**
   * What may differ within a stretch of a disk of the newer point, in steps of 4 KiB, ascending. `zero` extents read as zero there. What lies past the
   * end of the older one counts as changed, so a disk that it did not have does as a whole.
   */
  within(disk: number, offset: number, length: number): Promise<Extent[]>;
}

export async function openChanges(options: ChangesOptions): Promise<Changes> {
  const { store, tenantId, chainId, keys, from, to, indexes = [], known = [], replacements, onLostIndex, cacheBytes } = options;
  const { parallelism = PARALLELISM, signal = new AbortController().signal } = options;
  const source = { store, names: new ObjectNames(tenantId, chainId), signal };
  const request = { source, chainId, keys, head: to, below: from, indexes, known, replacements, onLostIndex, parallelism, cacheBytes };
  const reader = new PathReader(request);
  const older = await reader.manifest(from);
  const open = async (): Promise<{ newer: Manifest; stack: PageStack }> => {
    const { manifest, stack } = await reader.open();
    return { newer: manifest, stack: new PageStack([...stack.sources, new DiskEnds(older)]) };
  };
  let opened = await open();
  return {
    older,
    newer: opened.newer,
    async within(disk, offset, length) {
      for (;;) {
        const { stack } = opened;
        try {
          return await extentsWithin(stack, { disk, offset, length }, (...words) => stack.page(...words));
        } catch (error) {
          if (!(error instanceof IndexFault)) throw error;
          reader.exclude(error.index);
          opened = await open();
        }
      }
    },
  };
}

/** All that may differ on one disk, as {@link Changes.within} tells it: enough to make a differencing image of `to` over `from`. */
export async function changedExtents(options: ChangedExtentsOptions): Promise<Extent[]> {
  const ordinal = options.disk;
  const changes = await openChanges(options);
  const disk = changes.newer.disks.find((candidate) => candidate.ordinal === ordinal);
  if (disk === undefined) throw new CodedError('view.no-such-disk', 'not-found', `the point has no disk ${ordinal}`, { ordinal });
  return changes.within(ordinal, 0, disk.sizeBytes);
}

/** What a manifest says about the ends of its disks, and nothing of what they hold. */
class DiskEnds extends PageSource {
  readonly disks: readonly number[] = [];
  readonly first: number;
  readonly last: number;

  constructor(private readonly manifest: Manifest) {
    super();
    this.first = this.last = manifest.sequence;
  }

  endOf(disk: number): number {
    if (disk === FIRMWARE_DISK) return GRAINS_END;
    const sizeBytes = this.manifest.disks.find(({ ordinal }) => ordinal === disk)?.sizeBytes ?? 0;
    return Math.ceil(sizeBytes / GRAIN_BYTES);
  }

  async next(): Promise<null> {
    return null;
  }

  async page(): Promise<Page> {
    return Page.EMPTY;
  }
}
