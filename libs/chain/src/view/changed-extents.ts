import type { Extent, OpenViewOptions } from './chain-view.js';
import type { ManifestRef } from '../manifest/manifest.js';

export interface ChangedExtentsOptions extends Omit<OpenViewOptions, 'head'> {
  /** An ancestor of `to`: `chain.not-an-ancestor` otherwise. */
  readonly from: ManifestRef;
  readonly to: ManifestRef;
  readonly disk: number;
}

/**
 * What may differ on one disk between an ancestor and a descendant, in steps of 4 KiB, ascending: enough to make a differencing image of `to`
 * over `from`. `zero` extents became zero. A disk that `from` did not have differs wherever it was written.
 */
export function changedExtents(_options: ChangedExtentsOptions): Promise<Extent[]> {
  throw new Error('changedExtents');
}
