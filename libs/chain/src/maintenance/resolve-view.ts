import { cycleToHex } from '../cycle-number.js';
import { coverPositions } from '../indexes/plan-indexes.js';
import type { ManifestRef } from '../manifest/manifest.js';
import type { IndexEntry, LineageEntry, Replacement, ResolvedView } from './chain-ledger.js';
import { maintenanceErrors } from './maintenance-errors.js';

/** The path of a position, newest first. `maintenance.lineage-broken` when a parent is missing. */
export function pathOf(lineage: readonly LineageEntry[], root: ManifestRef): ManifestRef[] {
  const byCycle = new Map(lineage.map((entry) => [entry.ref.cycle, entry]));
  const path: ManifestRef[] = [];
  for (let cycle: bigint | undefined = root.cycle; cycle !== undefined;) {
    const entry = byCycle.get(cycle);
    if (entry === undefined) throw maintenanceErrors.lineageBroken(cycleToHex(cycle));
    path.push(entry.ref);
    cycle = entry.parent?.cycle;
  }
  return path;
}

/** Replacements, with the segments in them, that a reader is told of without needing them as long as its indexes are whole. */
const TOLD_BEFOREHAND_MAX = 4096;

/**
 * What of all that is known a reader of this path needs: the fewest indexes, the layers that they do not cover, and what was replaced of what those list.
 * With a base, also for what lies between it and the head, taken by itself.
 */
export function resolutionFor(
  { indexes, replacements }: { readonly indexes: readonly IndexEntry[]; readonly replacements: readonly Replacement[] },
  path: readonly ManifestRef[],
  base: ManifestRef | null = null,
): Pick<ResolvedView, 'indexes' | 'layers' | 'replacements'> {
  const cycles = new Set(path.map(({ cycle }) => cycle));
  const onPath = indexes.filter(({ lastCycle }) => cycles.has(lastCycle));
  const last = path[0]!.sequence;
  const plans = [0, ...(base === null ? [] : [base.sequence + 1])].map((first) => coverPositions(onPath, last, first));
  const chosen = new Set(plans.flatMap((plan) => plan.indexes.map(({ sha256 }) => sha256)));
  const positions = new Set(plans.flatMap((plan) => plan.layers));
  const layers = path.filter(({ sequence }) => positions.has(sequence));
  const needed = new Set(layers.map(({ cycle }) => cycle));
  const ofPath = replacements.filter(({ cycle }) => cycles.has(cycle));
  const entries = ofPath.reduce((sum, { by }) => sum + 1 + by.length, 0);
  return {
    indexes: onPath.filter(({ sha256 }) => chosen.has(sha256)),
    layers,
    // Where an index is lost or damaged, its layers' footers are read in its place: then what they list must be found too.
    replacements: entries <= TOLD_BEFOREHAND_MAX ? ofPath : ofPath.filter(({ cycle }) => needed.has(cycle)),
  };
}
