import { buildIndex } from '../indexes/build-index.js';
import { missingIndexes, unneededIndexes, type IndexRange, type KeptPath } from '../indexes/index-policy.js';
import type { Lineage } from '../indexes/plan-indexes.js';
import type { ManifestRef } from '../manifest/manifest.js';
import type { ChainReading } from './chain-ledger.js';
import { isNameTaken } from './maintenance-errors.js';
import { pathOf } from './resolve-view.js';
import { crash, HeldObjectStore, replacementsOf, standingOn, type Upkeep } from './upkeep.js';

export interface IndexingStep {
  readonly builtIndexes: number;
  readonly droppedIndexes: number;
  readonly writtenBytes: number;
}

/**
 * Builds the indexes that kept positions want, each told to the ledger as soon as it is stored, and drops those that no kept position is read from. Indexes
 * are derived: losing one, or building one twice, costs time and nothing else. `maintenance.conflict` when segments were replaced meanwhile.
 */
export async function buildIndexes(upkeep: Upkeep): Promise<IndexingStep> {
  const sum = { builtIndexes: 0, droppedIndexes: 0, writtenBytes: 0 };
  const skipped = new Set<string>();
  // Each built index changes what is best next: the plan is made anew, and ends since every range is built once.
  for (;;) {
    upkeep.signal.throwIfAborted();
    const reading = await upkeep.ledger.read(upkeep.address);
    const paths = keptPaths(reading);
    const missing = paths.flatMap(({ kept, refs }) => missingIndexes(reading.indexes, kept).map((range) => ({ range, refs })));
    const next = missing.find((one) => !skipped.has(nameOf(one)));
    if (next === undefined) {
      const dropIndexes = unneededIndexes(
        reading.indexes,
        paths.map(({ kept }) => kept),
      ).map(({ sha256 }) => sha256);
      const change = { revision: reading.revision, addIndexes: [], dropIndexes, writtenBytes: 0 };
      if (dropIndexes.length > 0) await upkeep.ledger.changeIndexes(upkeep.address, change);
      return { ...sum, droppedIndexes: dropIndexes.length };
    }
    try {
      sum.writtenBytes += await standingOn(upkeep, reading, () => build(upkeep, reading, next.refs, next.range));
    } catch (error) {
      // One of the same bytes is being deleted: it is built when its name is free, and its layers are read from footers till then.
      if (!isNameTaken(error)) throw error;
      skipped.add(nameOf(next));
      continue;
    }
    sum.builtIndexes += 1;
    crash(upkeep, 'index-built');
  }
}

function nameOf({ range, refs }: { readonly range: IndexRange; readonly refs: readonly ManifestRef[] }): string {
  return `${refs[0]!.sha256} ${range.first}-${range.last}`;
}

async function build(
  upkeep: Upkeep,
  reading: ChainReading,
  path: readonly ManifestRef[],
  { first, last }: { readonly first: number; readonly last: number },
): Promise<number> {
  const { address, options, signal, ledger } = upkeep;
  const store = new HeldObjectStore(upkeep);
  const known = path.filter(({ sequence }) => sequence <= last);
  const cycles = new Set(known.map(({ cycle }) => cycle));
  const built = await buildIndex({
    ...address,
    store,
    head: known[0]!,
    below: known.find(({ sequence }) => sequence === first - 1) ?? null,
    known: known.filter(({ sequence }) => sequence >= first),
    indexes: reading.indexes.filter(({ lastCycle }) => cycles.has(lastCycle)),
    replacements: replacementsOf(reading),
    cacheBytes: options.cacheBytes,
    parallelism: options.parallelism,
    signal,
  });
  const { writtenBytes } = store;
  await ledger.changeIndexes(address, { revision: reading.revision, addIndexes: [built], dropIndexes: [], writtenBytes });
  return writtenBytes;
}

/** A path from each kept position that no other kept position's path goes through. */
function keptPaths(reading: ChainReading): { readonly kept: KeptPath; readonly refs: readonly ManifestRef[] }[] {
  const { lineage, kept } = reading;
  const byCycle = new Map(lineage.map((entry) => [entry.ref.cycle, entry]));
  const below = new Set<bigint>();
  for (const cycle of kept) {
    let parent = byCycle.get(cycle)?.parent ?? null;
    while (parent !== null && !below.has(parent.cycle)) {
      below.add(parent.cycle);
      parent = byCycle.get(parent.cycle)?.parent ?? null;
    }
  }
  const tips = [...kept].filter((cycle) => !below.has(cycle)).sort((a, b) => (a < b ? -1 : 1));
  return tips.flatMap((cycle) => {
    const tip = byCycle.get(cycle);
    if (tip === undefined) return [];
    const refs = pathOf(lineage, tip.ref);
    const ascending = [...refs].reverse();
    const positions = ascending.filter((ref) => kept.has(ref.cycle)).map(({ sequence }) => sequence);
    return [{ kept: { lineage: branchesOf(ascending), kept: positions }, refs }];
  });
}

/** How a path runs through branches. */
function branchesOf(ascending: readonly ManifestRef[]): Lineage {
  const spans: { branchId: ManifestRef['branchId']; last: number }[] = [];
  for (const { branchId, sequence } of ascending) {
    const span = spans.at(-1);
    if (span?.branchId === branchId) span.last = sequence;
    else spans.push({ branchId, last: sequence });
  }
  return spans;
}
