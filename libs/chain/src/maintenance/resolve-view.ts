import { cycleToHex } from '../cycle-number.js';
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
  cycleOf: (segment: string) => bigint | null | undefined,
): { indexes: IndexEntry[]; replacements: Replacement[] } {
  const cycles = new Set(path.map(({ cycle }) => cycle));
  return {
    indexes: indexes.filter(({ lastCycle }) => cycles.has(lastCycle)),
    replacements: replacements.filter(({ segment }) => cycles.has(cycleOf(segment) ?? 0n)),
  };
}
