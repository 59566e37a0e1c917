import { CodedError } from '#libs/kernel';
import type { ManifestRef } from '../manifest/manifest.js';
import { ObjectNames } from '../object-names.js';
import type { Extent, OpenViewOptions } from './chain-view.js';
import { loadBlockMaps } from './load-block-maps.js';
import { extentsOf, PARALLELISM, RECORDS_MAX } from './open-view.js';

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
  const { store, tenantId, chainId, keys, from, to, disk: ordinal, recordsMax = RECORDS_MAX, parallelism = PARALLELISM } = options;
  const names = new ObjectNames(tenantId, chainId);
  const source = { store, names, keys, signal: options.signal ?? new AbortController().signal };
  const { manifest, maps } = await loadBlockMaps({ source, head: to, until: from, recordsMax, parallelism });
  const disk = manifest.disks.find((candidate) => candidate.ordinal === ordinal);
  if (disk === undefined) throw new CodedError('view.no-such-disk', 'not-found', `the point has no disk ${ordinal}`, { ordinal });
  return extentsOf(maps.get(ordinal)!, 0, disk.sizeBytes);
}
