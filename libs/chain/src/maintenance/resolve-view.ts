import { cycleToHex } from '../cycle-number.js';
import { coverPositions } from '../indexes/plan-indexes.js';
import type { ManifestRef } from '../manifest/manifest.js';
import type { IndexEntry, LineageEntry, Replacement } from './chain-ledger.js';
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

/** What of all that is known a reader of this path needs: the indexes that lie on it, and replacements of what its layers list. */
export function resolutionFor(
  path: readonly ManifestRef[],
  indexes: readonly IndexEntry[],
  replacements: readonly Replacement[],
): { indexes: IndexEntry[]; replacements: Replacement[] } {
  const cycles = new Set(path.map(({ cycle }) => cycle));
  const onPath = indexes.filter(({ lastCycle }) => cycles.has(lastCycle));
  const head = path[0]!;
  const plan = coverPositions(onPath, head.sequence, 0);
  const layers = new Set(plan.layers);
  const read = new Set(path.filter(({ sequence }) => layers.has(sequence)).map(({ cycle }) => cycle));
  const chosen = new Set(plan.indexes.map(({ sha256 }) => sha256));
  return {
    indexes: onPath.filter(({ sha256 }) => chosen.has(sha256)),
    replacements: replacements.filter(({ cycle }) => read.has(cycle)),
  };
}
