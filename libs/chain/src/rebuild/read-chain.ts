import type { BranchId } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { corrupt } from '../chain-errors.js';
import { compareEpochs, type Epoch } from '../cycle-number.js';
import type { SnapshotDocument } from '../maintenance/chain-ledger.js';
import { decodeSnapshot, type SnapshotContent } from '../maintenance/snapshot-codec.js';
import { readSnapshot } from '../maintenance/snapshots.js';
import { decodeFence, type Fence } from '../manifest/fence.js';
import { decodeListPage, type ListEntry } from '../manifest/list-page.js';
import { decodeManifest } from '../manifest/manifest-codec.js';
import { areSameRefs, referenceTo } from '../manifest/manifest-ref.js';
import type { Manifest } from '../manifest/manifest.js';
import { ObjectNames } from '../object-names.js';
import { sha256Hex } from '../sha256.js';
import { readAhead } from '../view/read-ahead.js';
import { faultOf, listChainObjects, type ChainObjects, type ManifestName } from './chain-objects.js';
import { chooseManifests, type Choice, type ChosenManifest, type FoundManifest } from './choose-manifests.js';
import { LEFT_OUT_MAX, type LeftOut, type RecoveredBranch, type RecoveredChain } from './recovered-chain.js';
import { decodeRelationshipRecord, type RelationshipRecord } from './relationship-record.js';

const READS_AT_ONCE = 8;
/** How far back a usable snapshot is looked for. */
const SNAPSHOTS_TRIED_MAX = 16;

interface Snapshot {
  readonly document: SnapshotDocument | null;
  readonly content: SnapshotContent;
}

interface Tried {
  readonly snapshot: Snapshot;
  readonly choice: Choice;
}

const NO_SNAPSHOT: Snapshot = { document: null, content: { kept: [], segments: [], replacements: [] } };

/**
 * Reads a chain from the store alone, without any key: what was acknowledged, where its branches part, what may be chosen, and where compaction has put
 * what. Every point that was acknowledged and not removed is among what it tells, if its objects are there; one whose acknowledgement never arrived may be,
 * and one that was removed since the last snapshot comes back if nothing of it was cleared away.
 *
 * Damage is told of, not thrown. Throws what an unreachable store does: `object.store-unavailable`, `object.listing-broken`.
 */
export async function readChainFromStore(store: ObjectStore, address: ChainAddress): Promise<RecoveredChain> {
  const place = { ...address, store, names: new ObjectNames(address.tenantId, address.chainId) };
  const objects = await listChainObjects(store, address);
  const leftOut: LeftOut[] = [];
  const fences = await readFences(place, objects, leftOut);
  const relationship = await readRelationship(place, objects, leftOut);
  const found: FoundManifest[] = [];
  for await (const each of readAhead(objects.manifests, READS_AT_ONCE, (name) => readManifest(place, objects, name))) found.push(each);
  const { snapshot, choice } = await chooseSnapshot(place, objects, leftOut, ({ content }) =>
    chooseManifests(found, fences, thereBy(objects, content)),
  );
  leftOut.push(...choice.leftOut);
  leftOut.sort((a, b) => (a.name < b.name ? -1 : 1));
  const { document, content } = snapshot;
  const snapshotCycle = newestOf(snapshot);
  const kept = new Map(content.kept.map((ref) => [ref.cycle, ref]));
  const manifests = choice.chosen.map(({ ref, manifest, segments }) => ({
    ref,
    manifest,
    segments,
    isPoint: manifest.kind === 'point' && (document === null || ref.cycle > snapshotCycle || areSameRefs(kept.get(ref.cycle) ?? null, ref)),
  }));
  const { epoch, branchId } = rolesOf(choice.chosen, fences);
  const documents = await documentsOf(place, document);
  const counted = new Set(documents.map(({ sha256 }) => sha256));
  return {
    ...address,
    epoch,
    branchId,
    manifests,
    snapshotCycle,
    keptCycles: new Set(kept.keys()),
    branches: branchesOf(choice.chosen, fences),
    snapshot: document,
    documents,
    segments: content.segments,
    replacements: content.replacements,
    strayDocuments: objects.snapshots.filter(({ sha256 }) => !counted.has(sha256)).map(({ name }) => name),
    keys: objects.keys,
    relationship,
    leftOut: leftOut.slice(0, LEFT_OUT_MAX),
    leftOutCount: leftOut.length,
  };
}

interface Place extends ChainAddress {
  readonly store: ObjectStore;
  readonly names: ObjectNames;
}

async function readFences({ store, names, chainId }: Place, objects: ChainObjects, leftOut: LeftOut[]): Promise<Fence[]> {
  const fences: Fence[] = [];
  for (const name of objects.fences) {
    try {
      const fence = decodeFence(await store.get(names.prefix + name), { chainId });
      if (names.fence(fence.epoch) !== names.prefix + name) throw corrupt('fence.malformed', 'a fence stands under the name of another');
      fences.push(fence);
    } catch (error) {
      leftOut.push({ name, reason: 'unreadable', detail: faultOf(error) });
    }
  }
  return fences;
}

/** One for each chain, for its whole life. */
async function readRelationship(
  { store, names, chainId }: Place,
  objects: ChainObjects,
  leftOut: LeftOut[],
): Promise<RelationshipRecord | null> {
  const records: RelationshipRecord[] = [];
  for (const name of objects.relationships) {
    try {
      const record = decodeRelationshipRecord(await store.get(names.prefix + name), { chainId });
      if (names.relationship(record.relationshipId) !== names.prefix + name)
        throw corrupt('relationship-record.malformed', 'a record stands under the name of another');
      records.push(record);
    } catch (error) {
      leftOut.push({ name, reason: 'unreadable', detail: faultOf(error) });
    }
  }
  return records.length === 1 ? records[0]! : null;
}

async function readManifest({ store, names, chainId }: Place, objects: ChainObjects, found: ManifestName): Promise<FoundManifest> {
  let manifest: Manifest;
  let sha256: string;
  try {
    const bytes = await store.get(names.prefix + found.name);
    manifest = decodeManifest(bytes, { chainId });
    sha256 = sha256Hex(bytes);
    if (names.manifest(manifest) !== names.prefix + found.name)
      throw corrupt('manifest.malformed', 'a manifest stands under the name of another');
  } catch (error) {
    return { ...found, read: { fault: faultOf(error) } };
  }
  const segments: ListEntry[] = [];
  let missingList: string | null = null;
  for (const list of manifest.lists) {
    try {
      if (!objects.lists.has(list.sha256)) throw corrupt('view.list-missing', 'a list page is not there');
      const bytes = await store.get(names.list(list.sha256));
      if (sha256Hex(bytes) !== list.sha256) throw corrupt('view.hash-mismatch', 'a list page has other bytes than its name says');
      const { entries, cycle } = decodeListPage(bytes, { chainId });
      if (entries.length !== list.entryCount || cycle !== manifest.cycle)
        throw corrupt('list.malformed', 'a list page is of another manifest');
      segments.push(...entries);
    } catch (error) {
      faultOf(error);
      missingList ??= list.sha256;
    }
  }
  return { ...found, read: { manifest, ref: referenceTo(manifest, sha256), segments, missingList } };
}

/** A segment is there by itself, or by all that took its place. */
function thereBy({ segments }: ChainObjects, content: SnapshotContent): (segment: ListEntry) => boolean {
  const compacted = new Map(content.segments.map((entry) => [entry.sha256, entry]));
  const replacedBy = new Map(content.replacements.map(({ segment, by }) => [segment, by]));
  return ({ sha256, sizeBytes }) => {
    const by = replacedBy.get(sha256);
    if (by === undefined) return segments.get(sha256) === sizeBytes;
    return by.every((each) => compacted.has(each) && segments.get(each) === compacted.get(each)!.sizeBytes);
  };
}

/**
 * The newest snapshot with which nothing is missing. One that was written and never came to count may stand beside, or even behind, the one that did: by
 * it something is missing as soon as anything was cleared away that only the other tells of. Of damaged ones the one that loses least.
 */
async function chooseSnapshot(
  place: Place,
  { snapshots }: ChainObjects,
  leftOut: LeftOut[],
  choose: (snapshot: Snapshot) => Choice,
): Promise<Tried> {
  let best: Tried | undefined;
  const unusable: LeftOut[] = [];
  for (const { name, sequence, sha256 } of snapshots.slice(0, SNAPSHOTS_TRIED_MAX)) {
    // Those of one sequence are tried all: nothing but what they hold tells which was later.
    if (best?.choice.lostCount === 0 && sequence < (best.snapshot.document?.sequence ?? 0)) break;
    let snapshot: Snapshot;
    try {
      const content = await readSnapshot(place, { sequence, sha256 });
      snapshot = { document: { sequence, sha256, since: (await documentsOf(place, { sequence, sha256 })).at(-1)!.sequence }, content };
    } catch (error) {
      unusable.push({ name, reason: 'unreadable', detail: faultOf(error) });
      continue;
    }
    const tried = { snapshot, choice: choose(snapshot) };
    if (best === undefined || isBetter(tried, best)) best = tried;
  }
  if (best !== undefined && best.choice.lostCount === 0) return best;
  const without = { snapshot: NO_SNAPSHOT, choice: choose(NO_SNAPSHOT) };
  const chosen = best === undefined || without.choice.lostCount < best.choice.lostCount ? without : best;
  leftOut.push(...unusable);
  return chosen;
}

/** Of equals the later: what is kept grows by newer positions, and without those it only shrinks. */
function isBetter(one: Tried, other: Tried): boolean {
  if (one.choice.lostCount !== other.choice.lostCount) return one.choice.lostCount < other.choice.lostCount;
  if (one.snapshot.document?.sequence !== other.snapshot.document?.sequence) return false;
  const [newest, otherNewest] = [newestOf(one.snapshot), newestOf(other.snapshot)];
  return newest === otherNewest ? one.snapshot.content.kept.length < other.snapshot.content.kept.length : newest > otherNewest;
}

function newestOf({ content }: Snapshot): bigint {
  return content.kept.reduce((newest, { cycle }) => (cycle > newest ? cycle : newest), 0n);
}

/** The documents that a snapshot is made of, newest first. */
async function documentsOf(
  { store, names, chainId }: Place,
  newest: { readonly sequence: number; readonly sha256: string } | null,
): Promise<{ readonly sequence: number; readonly sha256: string }[]> {
  const documents: { sequence: number; sha256: string }[] = [];
  for (let next = newest; next !== null;) {
    documents.push({ sequence: next.sequence, sha256: next.sha256 });
    const name = `${names.snapshots}${String(next.sequence).padStart(10, '0')}-${next.sha256}`;
    const { previous } = decodeSnapshot(await store.get(name), { chainId });
    next = previous === null ? null : { sequence: next.sequence - 1, sha256: previous };
  }
  return documents;
}

function rolesOf(chosen: readonly ChosenManifest[], fences: readonly Fence[]): { epoch: Epoch; branchId: BranchId | null } {
  let epoch: Epoch = { incarnation: 1, counter: 1 };
  let branchId: BranchId | null = null;
  for (const role of [...chosen.map(({ manifest }) => manifest), ...fences]) {
    if (compareEpochs(role.epoch, epoch) < 0 && branchId !== null) continue;
    ({ epoch, branchId } = role);
  }
  return { epoch, branchId };
}

function branchesOf(chosen: readonly ChosenManifest[], fences: readonly Fence[]): RecoveredBranch[] {
  const branches = new Map<BranchId, RecoveredBranch>();
  for (const { ref, manifest } of chosen) {
    const { frozen } = branches.get(ref.branchId) ?? { frozen: manifest.parent };
    branches.set(ref.branchId, { branchId: ref.branchId, frozen, head: ref });
  }
  const stands = new Map(chosen.map(({ ref }) => [ref.cycle, ref]));
  for (const { branchId, frozenPoint } of fences) {
    // A branch on which nothing was written yet is at its frozen point; one whose point is lost is nothing.
    const isSound = frozenPoint !== null && areSameRefs(stands.get(frozenPoint.cycle) ?? null, frozenPoint);
    if (!branches.has(branchId) && isSound) branches.set(branchId, { branchId, frozen: frozenPoint, head: frozenPoint });
  }
  return [...branches.values()];
}
