import { compareEpochs } from '../cycle-number.js';
import type { Manifest } from '../manifest/manifest.js';
import { areSameRefs } from '../manifest/manifest-ref.js';
import { comparePositions } from '../segment/segment-summary.js';
import { catalogueErrors } from './catalogue-errors.js';
import type { CycleState, SegmentInterval } from './replica-catalogue.js';

/** Refuses a manifest that says anything else than its cycle: `cycle.manifest-mismatch`. */
export function checkManifestIsOfCycle(manifest: Manifest, cycle: CycleState): void {
  const isSame: Record<string, boolean> = {
    chainId: manifest.chainId === cycle.chainId,
    cycle: manifest.cycle === cycle.cycle,
    kind: manifest.kind === cycle.kind,
    branchId: manifest.branchId === cycle.branchId,
    sequence: manifest.sequence === cycle.sequence,
    epoch: compareEpochs(manifest.epoch, cycle.epoch) === 0,
    parent: areSameRefs(manifest.parent, cycle.parent),
  };
  for (const [field, same] of Object.entries(isSame)) if (!same) throw catalogueErrors.manifestMismatch(field);
}

/** Refuses intervals that touch the same block: `cycle.segments-overlap`. */
export function checkDisjoint(segments: readonly SegmentInterval[]): void {
  const ascending = [...segments].sort((a, b) => comparePositions(a.first, b.first));
  for (const [index, segment] of ascending.entries()) {
    const before = ascending[index - 1];
    if (before !== undefined && comparePositions(before.last, segment.first) >= 0) throw catalogueErrors.segmentsOverlap(segment.sha256);
  }
}
