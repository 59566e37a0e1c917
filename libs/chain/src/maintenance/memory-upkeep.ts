import { STRAY, type StrayRow } from '../catalogue/memory-rows.js';
import type { BlockPosition } from '../segment/segment-summary.js';
import type { CountedBucket, HeldSweep, IndexEntry, SnapshotDocument, Switch } from './chain-ledger.js';
import { maintenanceErrors as errors } from './maintenance-errors.js';
import { nameOfSnapshot } from './names.js';

export interface IndexRow extends IndexEntry {
  doomedAtMs: number | null;
}

interface LeaseRow {
  readonly cycle: bigint;
  readonly holder: string;
  readonly resolvedAtMs: number;
  readonly expiresAtMs: number;
}

/** The rows of maintenance of one chain, in memory. */
export interface UpkeepRows {
  revision: number;
  writtenBytes: number;
  readonly leases: Map<string, LeaseRow>;
  readonly indexes: Map<string, IndexRow>;
  readonly buckets: Map<bigint, CountedBucket>;
  snapshots: SnapshotDocument[];
  sweep: (HeldSweep & { readonly names: ReadonlySet<string>; readonly isApproved: boolean }) | null;
  askedBytes: number;
  /** Noted blocks, by place; with the cycle that is asked for each. */
  readonly costly: Map<string, BlockPosition & { cycle: bigint | null }>;
}

export function newUpkeep(): UpkeepRows {
  return {
    revision: 0,
    writtenBytes: 0,
    leases: new Map(),
    indexes: new Map(),
    buckets: new Map(),
    snapshots: [],
    sweep: null,
    askedBytes: 0,
    costly: new Map(),
  };
}

export function requireRevision({ revision }: UpkeepRows, expected: number): void {
  if (revision !== expected) throw errors.conflict('another maintenance step was first');
}

export function requireFollows({ snapshots }: UpkeepRows, documents: readonly SnapshotDocument[]): void {
  const next = (snapshots.at(-1)?.sequence ?? 0) + 1;
  if (documents.some(({ sequence }, index) => sequence !== next + index)) throw errors.conflict('another snapshot was first');
}

export function requireKeptAmong(kept: ReadonlySet<bigint>, buckets: Switch['buckets']): void {
  const ends = new Set(buckets.map(({ end }) => end));
  const isBeside = (cycle: bigint): boolean => !ends.has(cycle) && [...ends].some((end) => cycle < end);
  if ([...kept].some(isBeside)) throw errors.conflict('a position is kept that the census took for dead');
}

/** The names of those that came before stay known until they are deleted: what nobody here ever named is another catalogue's. */
export function addSnapshots(
  upkeep: UpkeepRows,
  documents: readonly SnapshotDocument[],
  strays: Map<string, StrayRow>,
  nowMs: number,
): void {
  const since = documents.at(-1)?.since ?? 0;
  const all = [...upkeep.snapshots, ...documents];
  for (const gone of all.filter(({ sequence }) => sequence < since)) strays.set(nameOfSnapshot(gone), { ...STRAY, heldUntilMs: nowMs });
  upkeep.snapshots = all.filter(({ sequence }) => sequence >= since);
}

/** Objects that were held are referred to from now on. */
export function adopt(strays: Map<string, StrayRow>, names: readonly string[]): void {
  for (const name of names) if (strays.get(name)?.condemnedAtMs !== null) throw errors.conflict('an object is not held any more');
  for (const name of names) strays.delete(name);
}

export function changeIndexes(
  upkeep: UpkeepRows,
  { addIndexes, dropIndexes, writtenBytes }: Pick<Switch, 'addIndexes' | 'dropIndexes' | 'writtenBytes'>,
  nowMs: number,
): void {
  for (const sha256 of dropIndexes) {
    const row = upkeep.indexes.get(sha256);
    if (row !== undefined) row.doomedAtMs ??= nowMs;
  }
  for (const entry of addIndexes) upkeep.indexes.set(entry.sha256, { ...entry, doomedAtMs: null });
  upkeep.writtenBytes += writtenBytes;
}

/** What lived in replaced segments is counted where it is now; buckets of another census than the step's are to be counted anew. */
export function moveCounts(
  upkeep: UpkeepRows,
  replaced: ReadonlySet<string>,
  { buckets, counts }: Pick<Switch, 'buckets' | 'counts'>,
): void {
  const starts = new Map(buckets.map(({ start, end }) => [end, start]));
  for (const [end, bucket] of upkeep.buckets) {
    if (starts.get(end) !== bucket.start) {
      upkeep.buckets.delete(end);
      continue;
    }
    const moved = counts.filter((count) => count.end === end).map(({ segment, liveBytes }) => ({ segment, liveBytes }));
    upkeep.buckets.set(end, { ...bucket, counts: [...bucket.counts.filter(({ segment }) => !replaced.has(segment)), ...moved] });
  }
}

export function liveIndexes({ indexes }: UpkeepRows): IndexEntry[] {
  return [...indexes.values()].flatMap(({ doomedAtMs, ...entry }) => (doomedAtMs === null ? [entry] : []));
}
