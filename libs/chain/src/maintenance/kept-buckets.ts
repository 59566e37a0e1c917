import { cycleToHex } from '../cycle-number.js';
import type { ManifestRef } from '../manifest/manifest.js';
import type { LineageEntry } from './chain-ledger.js';
import { maintenanceErrors } from './maintenance-errors.js';

/**
 * The layers between two neighbouring kept positions of a path. Only at its end may anybody read it, so a record that does not show in the merge of
 * its own bucket shows nowhere; and since a position that is not kept never becomes one again, it never will.
 */
export interface Bucket {
  /** The kept position before it; null where it begins at a root. */
  readonly start: bigint | null;
  readonly end: bigint;
  /** Newest first: from the end's own layer to the one after the start. */
  readonly layers: readonly ManifestRef[];
}

/**
 * Parts all layers that a kept position can see into buckets, each layer in exactly one. Where two paths part, the fork is kept, whether anybody said so or
 * not. Ascending by the cycle of the end. `maintenance.lineage-broken` when a parent is missing: nothing may be taken for dead then.
 */
export function keptBuckets(lineage: readonly LineageEntry[], kept: ReadonlySet<bigint>): Bucket[] {
  const byCycle = new Map(lineage.map((entry) => [entry.ref.cycle, entry]));
  const entryOf = (cycle: bigint): LineageEntry => {
    const entry = byCycle.get(cycle);
    if (entry === undefined) throw maintenanceErrors.lineageBroken(cycleToHex(cycle));
    return entry;
  };
  const ends = new Set(kept);
  for (const fork of forksOf(kept, entryOf)) ends.add(fork);
  return [...ends].sort((a, b) => (a < b ? -1 : 1)).map((end) => bucketOf(end, ends, entryOf));
}

function bucketOf(end: bigint, ends: ReadonlySet<bigint>, entryOf: (cycle: bigint) => LineageEntry): Bucket {
  const layers: ManifestRef[] = [];
  for (let entry = entryOf(end); ; entry = entryOf(entry.parent.cycle)) {
    layers.push(entry.ref);
    if (entry.parent === null) return { start: null, end, layers };
    if (ends.has(entry.parent.cycle)) return { start: entry.parent.cycle, end, layers };
  }
}

/** The positions at which paths of kept positions meet. */
function forksOf(kept: ReadonlySet<bigint>, entryOf: (cycle: bigint) => LineageEntry): Set<bigint> {
  const reached = new Set<bigint>();
  const forks = new Set<bigint>();
  for (const cycle of kept) {
    for (let entry = entryOf(cycle); !reached.has(entry.ref.cycle); entry = entryOf(entry.parent.cycle)) {
      reached.add(entry.ref.cycle);
      if (entry.parent === null) break;
      if (reached.has(entry.parent.cycle)) forks.add(entry.parent.cycle);
    }
  }
  return forks;
}
