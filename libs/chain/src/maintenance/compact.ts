import { buildIndex } from '../indexes/build-index.js';
import type { ManifestRef } from '../manifest/manifest.js';
import type { Census } from './census.js';
import type { ChainReading, IndexEntry, LiveSegment } from './chain-ledger.js';
import { chooseVictims } from './choose-victims.js';
import { isNameTaken, maintenanceErrors as errors } from './maintenance-errors.js';
import { moveRecords, UnmovableError, type Moved } from './move-records.js';
import { MovedSource, type Moves } from './moved-source.js';
import type { SnapshotContent } from './snapshot-codec.js';
import { writeSnapshot } from './snapshots.js';
import { pathOf } from './resolve-view.js';
import { crash, HeldObjectStore, replacementsOf, standingOn, type Upkeep } from './upkeep.js';

export interface CompactionStep {
  readonly doomedSegments: number;
  readonly doomedBytes: number;
  readonly newSegments: number;
  /** Segments, indexes and snapshot. */
  readonly writtenBytes: number;
}

/**
 * One step of compaction: copies what lives of some segments into new ones, says anew where indexes find it, writes a snapshot that tells of both, and
 * then, in one transaction, switches over and dooms the old ones. Null when nothing is worth it.
 *
 * It may end at any place. Until the switch nothing refers to what it wrote, which collection finds as strays; after it nothing more is to be done. Two
 * steps at once: the second to switch gets `maintenance.conflict`, and has changed nothing. Points that arrive or go meanwhile do no harm: the census
 * it stands on only errs by taking for alive what has died since.
 */
export function compact(upkeep: Upkeep, census: Census): Promise<CompactionStep | null> {
  return standingOn(upkeep, census.reading, () => step(upkeep, census));
}

async function step(upkeep: Upkeep, census: Census): Promise<CompactionStep | null> {
  const store = new HeldObjectStore(upkeep);
  const chosen = await move(upkeep, store, census);
  if (chosen === null) return null;
  crash(upkeep, 'records-moved');
  return switchOver(upkeep, store, census, chosen);
}

/** Segments that are done with, and where what lives of the moved ones is from now on. */
export interface Relocation {
  readonly dead: readonly LiveSegment[];
  readonly victims: readonly LiveSegment[];
  readonly moved: Moved;
}

/** Writes indexes and a snapshot that tell of new segments, which are in the store, and then, in one transaction, switches over and dooms the old ones. */
export async function switchOver(
  upkeep: Upkeep,
  store: HeldObjectStore,
  census: Census,
  { dead, victims, moved }: Relocation,
): Promise<CompactionStep> {
  const { reading } = census;
  const changed = await rewriteIndexes(upkeep, store, reading, moved);
  crash(upkeep, 'indexes-rewritten');
  const replacements = [
    ...dead.map(({ sha256 }) => ({ segment: sha256, by: [] as string[] })),
    ...victims.map(({ sha256 }) => ({ segment: sha256, by: [...moved.by.get(sha256)!] })),
  ];
  const place = { store, names: store.names, chainId: upkeep.address.chainId };
  const snapshot = await writeSnapshot(place, reading.snapshot, contentAfter(reading, moved, replacements));
  crash(upkeep, 'snapshot-written');
  const { revision } = reading;
  const knownIndexes = reading.indexes.map(({ sha256 }) => sha256);
  const { segments, counts } = moved;
  const { writtenBytes } = store;
  const buckets = census.buckets.map(({ start, end }) => ({ start, end }));
  await upkeep.ledger.switch(upkeep.address, {
    revision,
    segments,
    buckets,
    counts,
    replacements,
    ...changed,
    knownIndexes,
    snapshot,
    writtenBytes,
  });
  crash(upkeep, 'segments-switched');
  const doomed = [...dead, ...victims];
  const doomedBytes = doomed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return { doomedSegments: doomed.length, doomedBytes, newSegments: segments.length, writtenBytes };
}

/** Chooses segments and moves what lives of them; those that cannot be moved for now are done without. */
async function move(upkeep: Upkeep, store: HeldObjectStore, census: Census): Promise<Relocation | null> {
  const indexBytes = census.reading.indexes.reduce((sum, { bytes }) => sum + bytes, 0);
  const unmovable = new Set<string>();
  for (;;) {
    const { dead, moved: victims } = chooseVictims(census, upkeep.options, indexBytes, unmovable);
    if (dead.length + victims.length === 0) return null;
    try {
      return { dead, victims, moved: await moveRecords(upkeep, store, census, victims) };
    } catch (error) {
      if (!(error instanceof UnmovableError)) throw error;
      for (const segment of error.segments) unmovable.add(segment);
    }
  }
}

/** Of every index that covers a layer whose records were moved: the same layers, with the places of now. */
async function rewriteIndexes(
  upkeep: Upkeep,
  store: HeldObjectStore,
  reading: ChainReading,
  { cycles, moves }: Moved,
): Promise<{ dropIndexes: string[]; addIndexes: IndexEntry[] }> {
  const dropIndexes: string[] = [];
  const addIndexes: IndexEntry[] = [];
  for (const index of reading.indexes) {
    const path = pathFrom(reading, index);
    const covered = path.filter(({ sequence }) => sequence >= index.first);
    if (!covered.some(({ cycle }) => cycles.has(cycle))) continue;
    const rewritten = await rewriteIndex(upkeep, store, reading, index, path, moves).catch((error: unknown) => {
      // It is derived: done without, it is built again when its name is free.
      if (isNameTaken(error)) return null;
      throw error;
    });
    if (rewritten?.sha256 === index.sha256) continue;
    dropIndexes.push(index.sha256);
    if (rewritten !== null) addIndexes.push(rewritten);
  }
  return { dropIndexes, addIndexes };
}

function pathFrom({ lineage }: ChainReading, { lastCycle }: IndexEntry): ManifestRef[] {
  const end = lineage.find(({ ref }) => ref.cycle === lastCycle);
  if (end === undefined) throw errors.conflict('an index ends where nothing was committed');
  return pathOf(lineage, end.ref);
}

async function rewriteIndex(
  { address, options, signal }: Upkeep,
  store: HeldObjectStore,
  reading: ChainReading,
  index: IndexEntry,
  path: readonly ManifestRef[],
  moves: Moves,
): Promise<IndexEntry> {
  const below = path.find(({ sequence }) => sequence === index.first - 1) ?? null;
  const { cacheBytes, parallelism } = options;
  const layers = {
    ...address,
    store,
    head: path[0]!,
    below,
    indexes: [index],
    known: path,
    replacements: replacementsOf(reading),
    cacheBytes,
    parallelism,
    signal,
  };
  return buildIndex(layers, (source) => new MovedSource(source, moves));
}

/** The chain's state as it is after the switch. */
function contentAfter(
  reading: ChainReading,
  { segments }: Moved,
  replaced: readonly { readonly segment: string; readonly by: readonly string[] }[],
): SnapshotContent {
  const byOld = new Map(replaced.map(({ segment, by }) => [segment, by]));
  const before = contentOf(reading);
  const listed = new Set(reading.segments.filter(({ cycle }) => cycle !== null).map(({ sha256 }) => sha256));
  return {
    kept: before.kept,
    segments: [...before.segments.filter(({ sha256 }) => !byOld.has(sha256)), ...segments],
    replacements: [
      ...before.replacements.map(({ segment, by }) => ({ segment, by: [...new Set(by.flatMap((one) => byOld.get(one) ?? [one]))] })),
      ...replaced.filter(({ segment }) => listed.has(segment)),
    ],
  };
}

/** The chain's state as a reading tells it. */
export function contentOf({ lineage, kept, segments, replacements }: ChainReading): SnapshotContent {
  return {
    kept: lineage.filter(({ ref }) => kept.has(ref.cycle)).map(({ ref }) => ref),
    segments: segments.filter(({ cycle }) => cycle === null).map(({ cycle: _cycle, ...entry }) => entry),
    replacements: replacements.map(({ segment, by }) => ({ segment, by: by.map(({ sha256 }) => sha256) })),
  };
}
