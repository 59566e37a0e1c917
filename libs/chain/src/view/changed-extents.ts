import { CodedError } from '#libs/kernel';
import { FIRMWARE_DISK, GRAIN_BYTES } from '../limits.js';
import { GRAINS_END, PageSource } from '../indexes/page-source.js';
import { Page } from '../indexes/page.js';
import { PageStack } from '../indexes/page-stack.js';
import { IndexFault } from '../indexes/index-fault.js';
import { PathReader } from '../indexes/path-reader.js';
import type { Manifest, ManifestRef } from '../manifest/manifest.js';
import { ObjectNames } from '../object-names.js';
import { PARALLELISM, type Extent, type OpenViewOptions } from './chain-view.js';
import { extentsWithin } from './page-extents.js';

export interface ChangedExtentsOptions extends Omit<OpenViewOptions, 'head'> {
  /** An ancestor of `to`: `chain.not-an-ancestor` otherwise. */
  readonly from: ManifestRef;
  readonly to: ManifestRef;
  readonly disk: number;
}

/**
 * What may differ on one disk between an ancestor and a descendant, in steps of 4 KiB, ascending: enough to make a differencing image of `to`
 * over `from`. `zero` extents read as zero in `to`. What lies past the end of `from` counts as changed, so a disk that it did not have does as a whole.
 */
export async function changedExtents(options: ChangedExtentsOptions): Promise<Extent[]> {
  const { store, tenantId, chainId, keys, from, to, disk: ordinal, indexes = [], known = [], replacements, cacheBytes } = options;
  const { parallelism = PARALLELISM, signal = new AbortController().signal } = options;
  const source = { store, names: new ObjectNames(tenantId, chainId), signal };
  const request = { source, chainId, keys, head: to, below: from, indexes, known, replacements, parallelism, cacheBytes };
  const reader = new PathReader(request);
  for (;;) {
    const [older, { manifest, stack }] = await Promise.all([reader.manifest(from), reader.open()]);
    const disk = manifest.disks.find((candidate) => candidate.ordinal === ordinal);
    if (disk === undefined) throw new CodedError('view.no-such-disk', 'not-found', `the point has no disk ${ordinal}`, { ordinal });
    const changes = new PageStack([...stack.sources, new DiskEnds(older)]);
    try {
      return await extentsWithin(changes, { disk: ordinal, offset: 0, length: disk.sizeBytes }, (...words) => changes.page(...words));
    } catch (error) {
      if (!(error instanceof IndexFault)) throw error;
      reader.exclude(error.index);
    }
  }
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
