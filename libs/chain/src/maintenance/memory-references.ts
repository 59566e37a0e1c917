import { isHeld, type ChainRow, type CycleRow, type SegmentRow } from '../catalogue/memory-rows.js';
import { cycleToHex } from '../cycle-number.js';
import type { ListEntry } from '../manifest/list-page.js';
import type { CondemnedObject } from './chain-ledger.js';
import type { IndexRow, UpkeepRows } from './memory-upkeep.js';
import { nameOfSegment, nameOfSnapshot, namesOfIndex } from './names.js';

/** What the ledger's methods see of one chain at one instant. */
export interface LedgerRows {
  readonly chain: ChainRow;
  readonly cycles: readonly CycleRow[];
  readonly upkeep: UpkeepRows;
  readonly nowMs: number;
}

/** Cycles of the manifests that somebody may read or build on. */
export function keptCycles({ chain, cycles, upkeep, nowMs }: LedgerRows): Set<bigint> {
  const kept = new Set<bigint>();
  for (const { kind, id, ref } of chain.points) if (kind === 'point' && !chain.deletedPoints.has(id)) kept.add(ref.cycle);
  for (const { head, frozenPoint } of chain.branches.values()) {
    if (head !== null) kept.add(head.cycle);
    const frozen = chain.points.find(({ id }) => id === frozenPoint);
    if (frozen !== undefined) kept.add(frozen.ref.cycle);
  }
  for (const { status, state } of cycles) if (status === 'open' && state.parent !== null) kept.add(state.parent.cycle);
  for (const { cycle, expiresAtMs } of upkeep.leases.values()) if (expiresAtMs > nowMs) kept.add(cycle);
  return kept;
}

/** Tells whether a row stands for a name. */
export function knownNames({ chain, cycles, upkeep, nowMs }: LedgerRows): (name: string) => boolean {
  const known = new Set<string>();
  for (const row of chain.segments.values()) if (!row.isCondemned) known.add(nameOfSegment(row.sha256));
  for (const index of upkeep.indexes.values()) for (const name of namesOfIndex(index)) known.add(name);
  for (const document of upkeep.snapshots) known.add(nameOfSnapshot(document));
  for (const [name, stray] of chain.strays) if (isHeld(stray, nowMs)) known.add(name);
  for (const { status, lists, state, committed } of cycles) {
    if (status === 'voided') continue;
    for (const sha256 of lists.keys()) known.add(`l/${sha256}`);
    const { branchId, sequence } = committed?.ref ?? state;
    known.add(`m/${branchId}/${String(sequence).padStart(10, '0')}-${cycleToHex(state.cycle)}`);
  }
  return (name) => known.has(name);
}

export interface Due {
  readonly objects: readonly CondemnedObject[];
  readonly segments: readonly SegmentRow[];
  readonly indexes: readonly IndexRow[];
}

/** What may be deleted now: doomed or sighted a grace ago, and referred to by nothing at this instant. */
export function dueOf(rows: LedgerRows, graceMs: number): Due {
  const { chain, upkeep, nowMs } = rows;
  const oldestLeaseMs = Math.min(
    ...[...upkeep.leases.values()].filter(({ expiresAtMs }) => expiresAtMs > nowMs).map(({ resolvedAtMs }) => resolvedAtMs),
  );
  const isOver = (doomedAtMs: number | null): boolean => doomedAtMs !== null && doomedAtMs <= nowMs - graceMs && doomedAtMs < oldestLeaseMs;
  const needed = neededSegments(rows);
  const segments = [...chain.segments.values()].filter((row) => isOver(row.doomedAtMs) && !row.isCondemned && !needed.has(row.sha256));
  const indexes = [...upkeep.indexes.values()].filter((row) => isOver(row.doomedAtMs));
  const goingIndexes = new Set(indexes.map(({ sha256 }) => sha256));
  const keptNames = new Set([...upkeep.indexes.values()].filter(({ sha256 }) => !goingIndexes.has(sha256)).flatMap(namesOfIndex));
  const isKnown = knownNames(rows);
  const strays = [...chain.strays].filter(
    ([name, stray]) => stray.condemnedAtMs === null && stray.sightedAtMs !== null && stray.sightedAtMs <= nowMs - graceMs && !isKnown(name),
  );
  const isFree = (name: string): boolean => !keptNames.has(name) && !(chain.strays.has(name) && isHeld(chain.strays.get(name)!, nowMs));
  const objects = [
    ...segments.map(({ sha256, sizeBytes }) => ({ name: nameOfSegment(sha256), sizeBytes })),
    ...indexes.flatMap((index) => sizedNames(index).filter(({ name }) => isFree(name))),
    ...strays.map(([name, { sizeBytes }]) => ({ name, sizeBytes })),
  ];
  return { objects, segments, indexes };
}

/** The parts' sizes are not known one by one: the root stands for all. */
function sizedNames(index: IndexRow): CondemnedObject[] {
  return namesOfIndex(index).map((name, at) => ({ name, sizeBytes: at === 0 ? index.bytes : 0 }));
}

/** Segments that records are read from: what no doom may have taken. */
function neededSegments({ chain, cycles }: LedgerRows): Set<string> {
  const needed = new Set<string>();
  for (const { role, replacedBy } of chain.segments.values()) if (role === 'listed') for (const by of replacedBy ?? []) needed.add(by);
  for (const { sha256, role, replacedBy } of chain.segments.values()) if (role === 'listed' && replacedBy === null) needed.add(sha256);
  for (const cycle of cycles) if (cycle.status === 'open') for (const sha256 of cycle.segments.keys()) needed.add(sha256);
  return needed;
}

/** Tells which cycle uploaded a segment; null for one that none did. */
export function cycleOfSegments({ cycles }: LedgerRows): (segment: string) => bigint | null {
  const found = new Map(cycles.flatMap(({ state, segments }) => [...segments.keys()].map((sha256) => [sha256, state.cycle] as const)));
  return (segment) => found.get(segment) ?? null;
}

export function storedBytesOf({ chain, upkeep }: LedgerRows): number {
  const segments = [...chain.segments.values()]
    .filter(({ isCondemned }) => !isCondemned)
    .reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return segments + [...upkeep.indexes.values()].reduce((sum, { bytes }) => sum + bytes, 0);
}

/** What of a chain was condemned within the window. */
export function recentlyCondemned({ chain, nowMs }: LedgerRows, windowMs: number): { readonly bytes: number; readonly objects: number } {
  const recent = [...chain.strays.values()].filter(({ condemnedAtMs }) => condemnedAtMs !== null && condemnedAtMs > nowMs - windowMs);
  return { bytes: bytesOf(recent), objects: recent.length };
}

/** The part of what is due that an approval named. */
export function partOfSweep({ objects, segments, indexes }: Due, names: ReadonlySet<string>): Due {
  return {
    objects: objects.filter(({ name }) => names.has(name)),
    segments: segments.filter(({ sha256 }) => names.has(nameOfSegment(sha256))),
    indexes: indexes.filter(({ sha256 }) => names.has(`x/${sha256}`)),
  };
}

export function bytesOf(objects: readonly Pick<CondemnedObject, 'sizeBytes'>[]): number {
  return objects.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

export function entryOf({ sha256, sizeBytes, footerBytes, footerSha256, recordCount, plainBytes, first, last }: ListEntry): ListEntry {
  return { sha256, sizeBytes, footerBytes, footerSha256, recordCount, plainBytes, first, last };
}
