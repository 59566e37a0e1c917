import { newId, PlatformError, type ChainId } from '#libs/kernel';
import { putBytes, type ObjectStore } from '#libs/object-store';
import { corrupt } from '../chain-errors.js';
import { cycleToHex } from '../cycle-number.js';
import type { ListEntry } from '../manifest/list-page.js';
import { areSameRefs } from '../manifest/manifest-ref.js';
import type { ManifestRef } from '../manifest/manifest.js';
import type { ObjectNames } from '../object-names.js';
import { sha256Hex } from '../sha256.js';
import type { SnapshotDocument } from './chain-ledger.js';
import { nameOfSnapshot } from './names.js';
import { decodeSnapshot, encodeSnapshot, SNAPSHOT_ENTRIES_MAX, type SnapshotContent, type SnapshotDelta } from './snapshot-codec.js';

/** Where the snapshots of one chain lie. */
export interface SnapshotPlace {
  readonly store: ObjectStore;
  readonly names: ObjectNames;
  readonly chainId: ChainId;
}

/** A chain's state as its documents tell it, by key. */
interface SnapshotState {
  readonly kept: Map<bigint, ManifestRef>;
  readonly segments: Map<string, ListEntry>;
  readonly replacements: Map<string, readonly string[]>;
}

/**
 * Reads the snapshot that ends in a document: from where it began anew on, each document pinned by the next one's hash. `snapshot.*`, `object.not-found`;
 * `snapshot.broken` where the documents do not follow one another.
 */
export async function readSnapshot(place: SnapshotPlace, newest: Pick<SnapshotDocument, 'sequence' | 'sha256'>): Promise<SnapshotContent> {
  const deltas: SnapshotDelta[] = [];
  for (let next: typeof newest | null = newest; next !== null;) {
    const bytes = await place.store.get(place.names.prefix + nameOfSnapshot(next));
    if (sha256Hex(bytes) !== next.sha256) throw corrupt('snapshot.broken', 'a snapshot is not the one that is meant', { ...next });
    const delta = decodeSnapshot(bytes, place);
    if (delta.sequence !== next.sequence || (deltas.length === 0 && !delta.isComplete))
      throw corrupt('snapshot.broken', 'a snapshot does not follow the one before', { ...next });
    deltas.push(delta);
    next = delta.previous === null ? null : { sequence: delta.sequence - 1, sha256: delta.previous };
  }
  const state: SnapshotState = { kept: new Map(), segments: new Map(), replacements: new Map() };
  for (const delta of deltas.reverse()) apply(state, delta);
  return {
    kept: [...state.kept.values()],
    segments: [...state.segments.values()],
    replacements: [...state.replacements].map(([segment, by]) => ({ segment, by })),
  };
}

/**
 * Writes what changed since the newest document, or everything anew where the deltas would come to more than half of it. Gives the documents for the
 * ledger; none when nothing changed. After a crash here they are strays, and collected as such: only what the ledger notes counts.
 */
export async function writeSnapshot(
  place: SnapshotPlace,
  newest: SnapshotDocument | null,
  content: SnapshotContent,
): Promise<SnapshotDocument[]> {
  const before = newest === null ? null : await readUnlessDamaged(place, newest);
  const whole = entriesBetween(null, content);
  const changes = entriesBetween(before, content);
  if (before !== null && changes.length === 0) return [];
  const sinceCount = newest === null ? 0 : newest.sequence - newest.since + 1;
  // Each delta is at least a document of its own to read: a long row of small ones begins anew, too.
  const beginsAnew =
    newest === null || before === null || changes.length > whole.length / 2 || sinceCount > Math.max(24, whole.length / 64);
  const entries = beginsAnew ? whole : changes;
  const documents: SnapshotDocument[] = [];
  let previous = beginsAnew ? null : newest.sha256;
  for (let at = 0; at === 0 || at < entries.length; at += SNAPSHOT_ENTRIES_MAX) {
    const sequence = (newest?.sequence ?? 0) + 1 + documents.length;
    const isComplete = at + SNAPSHOT_ENTRIES_MAX >= entries.length;
    const { bytes, sha256 } = encodeSnapshot(
      deltaOf(place.chainId, sequence, previous, isComplete, entries.slice(at, at + SNAPSHOT_ENTRIES_MAX)),
    );
    await putBytes(place.store, place.names.prefix + nameOfSnapshot({ sequence, sha256 }), bytes);
    const since: number = beginsAnew ? (documents[0]?.since ?? sequence) : newest.since;
    documents.push({ sequence, sha256, since });
    previous = sha256;
  }
  return documents;
}

/** The ledger has the truth: documents that are damaged or gone are written anew. */
async function readUnlessDamaged(place: SnapshotPlace, newest: SnapshotDocument): Promise<SnapshotContent | null> {
  try {
    return await readSnapshot(place, newest);
  } catch (error) {
    if (error instanceof PlatformError && (error.kind === 'corrupt' || error.kind === 'not-found')) return null;
    throw error;
  }
}

/** One thing that came or went. */
type Entry =
  | { readonly is: 'kept'; readonly ref: ManifestRef }
  | { readonly is: 'segment'; readonly entry: ListEntry }
  | { readonly is: 'replacement'; readonly segment: string; readonly by: readonly string[] }
  | { readonly is: 'kept-no-more'; readonly cycle: bigint }
  | { readonly is: 'segment-no-more'; readonly sha256: string };

/** In one order only. */
function entriesBetween(before: SnapshotContent | null, after: SnapshotContent): Entry[] {
  const state: SnapshotState = { kept: new Map(), segments: new Map(), replacements: new Map() };
  if (before !== null) put(state, before);
  const entries: Entry[] = [];
  const kept = new Set(after.kept.map(({ cycle }) => cycle));
  const segments = new Set(after.segments.map(({ sha256 }) => sha256));
  for (const cycle of state.kept.keys()) if (!kept.has(cycle)) entries.push({ is: 'kept-no-more', cycle });
  for (const sha256 of state.segments.keys()) if (!segments.has(sha256)) entries.push({ is: 'segment-no-more', sha256 });
  for (const ref of after.kept) if (!areSameRefs(state.kept.get(ref.cycle) ?? null, ref)) entries.push({ is: 'kept', ref });
  for (const entry of after.segments) if (!state.segments.has(entry.sha256)) entries.push({ is: 'segment', entry });
  for (const { segment, by } of after.replacements) {
    const sorted = [...by].sort();
    if (state.replacements.get(segment)?.join() !== sorted.join() || !state.replacements.has(segment))
      entries.push({ is: 'replacement', segment, by: sorted });
  }
  const keyOf = (entry: Entry): string =>
    entry.is === 'kept'
      ? cycleToHex(entry.ref.cycle)
      : entry.is === 'kept-no-more'
        ? cycleToHex(entry.cycle)
        : entry.is === 'segment'
          ? entry.entry.sha256
          : entry.is === 'replacement'
            ? entry.segment
            : entry.sha256;
  const keyed = entries.map((entry) => ({ entry, key: `${entry.is} ${keyOf(entry)}` }));
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ entry }) => entry);
}

function deltaOf(
  chainId: ChainId,
  sequence: number,
  previous: string | null,
  isComplete: boolean,
  entries: readonly Entry[],
): SnapshotDelta {
  const add = { kept: [] as ManifestRef[], segments: [] as ListEntry[], replacements: [] as { segment: string; by: readonly string[] }[] };
  const remove = { kept: [] as bigint[], segments: [] as string[] };
  for (const entry of entries) {
    if (entry.is === 'kept') add.kept.push(entry.ref);
    else if (entry.is === 'segment') add.segments.push(entry.entry);
    else if (entry.is === 'replacement') add.replacements.push({ segment: entry.segment, by: entry.by });
    else if (entry.is === 'kept-no-more') remove.kept.push(entry.cycle);
    else remove.segments.push(entry.sha256);
  }
  return { chainId, sequence, id: newId(), previous, isComplete, add, remove };
}

function apply(state: SnapshotState, { add, remove }: SnapshotDelta): void {
  for (const cycle of remove.kept) state.kept.delete(cycle);
  for (const sha256 of remove.segments) state.segments.delete(sha256);
  put(state, add);
}

function put(state: SnapshotState, { kept, segments, replacements }: SnapshotContent): void {
  for (const ref of kept) state.kept.set(ref.cycle, ref);
  for (const entry of segments) state.segments.set(entry.sha256, entry);
  for (const { segment, by } of replacements) state.replacements.set(segment, [...by].sort());
}
