import type { IndexRef } from '../indexes/index-ref.js';
import type { BlockPosition } from '../segment/segment-summary.js';
import type { ManifestRef } from '../manifest/manifest.js';
import type { ListEntry } from '../manifest/list-page.js';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';

/** A committed manifest's place in the tree. */
export interface LineageEntry {
  readonly ref: ManifestRef;
  readonly parent: ManifestRef | null;
}

/** A segment that stands for itself: some layer lists it, or compaction made it. Doomed and replaced ones are not told. */
export interface LiveSegment extends ListEntry {
  /** Of the layer that lists it; null for one that compaction made, which holds records of many. */
  readonly cycle: bigint | null;
}

/** Where the records of a listed segment are now: in all of `by`, in any order; nowhere when nothing of it lives any more. */
export interface Replacement {
  readonly segment: string;
  /** Of the layer that lists it. */
  readonly cycle: bigint;
  readonly by: readonly ListEntry[];
}

/** The layers after one kept position up to the next, as a census counted them. `start` is null where the bucket begins at a root. */
export interface CountedBucket {
  readonly start: bigint | null;
  readonly end: bigint;
  readonly counts: readonly SegmentCount[];
}

/** What of a segment is visible at the end of a bucket. A segment with records of other buckets has a count in each. */
export interface SegmentCount {
  readonly segment: string;
  readonly liveBytes: number;
}

/** An index the catalogue knows, with the objects it is made of. */
export interface IndexEntry extends IndexRef {
  /** SHA-256 of the objects beside the root. */
  readonly parts: readonly string[];
}

/** A document of the chain's snapshots in the store. */
export interface SnapshotDocument {
  readonly sequence: number;
  readonly sha256: string;
  /** The sequence of the document that began anew, from which on the documents up to this one are needed. */
  readonly since: number;
}

/** All that maintenance decides on, read in one transaction. */
export interface ChainReading {
  /** Grows with every change of what stands where; points that arrive or go do not change it. */
  readonly revision: number;
  /** Every committed manifest, as of the same instant as `kept`: one that nothing kept leads to is dead. */
  readonly lineage: readonly LineageEntry[];
  /** Cycles of the manifests that may be read: points, heads, fork points, leased views, parents of open cycles. */
  readonly kept: ReadonlySet<bigint>;
  readonly segments: readonly LiveSegment[];
  readonly replacements: readonly Replacement[];
  readonly buckets: readonly CountedBucket[];
  readonly indexes: readonly IndexEntry[];
  /** The newest document. */
  readonly snapshot: SnapshotDocument | null;
  /** Bytes that writers sent, and bytes that maintenance wrote beside: write amplification is 1 + written / ingested. */
  readonly ingestedBytes: number;
  readonly writtenBytes: number;
  /** Of what was ingested, at most so much was sent only because {@link ChainLedger.askForWhole} asked for it. */
  readonly askedBytes: number;
}

/** What one step of maintenance changes, all of it or nothing. Objects it names are durable and held by {@link ChainLedger.hold}. */
export interface Switch {
  /** The revision of the reading that the step stands on: another one is `maintenance.conflict`. */
  readonly revision: number;
  /** New segments, with what lives in them by bucket. */
  readonly segments: readonly ListEntry[];
  /**
   * All buckets of the step's census. Others that were counted meanwhile know nothing of the new segments, and are forgotten. A position that is kept now,
   * ends none of them and is not later than all was dead when it was counted: that is `maintenance.conflict`.
   */
  readonly buckets: readonly Pick<CountedBucket, 'start' | 'end'>[];
  readonly counts: readonly { readonly end: bigint; readonly segment: string; readonly liveBytes: number }[];
  /** Live segments that stand for themselves no longer, and which of `segments` stand for each. They are doomed. */
  readonly replacements: readonly { readonly segment: string; readonly by: readonly string[] }[];
  /** Indexes that name places of replaced segments, and those that take their place. */
  readonly dropIndexes: readonly string[];
  readonly addIndexes: readonly IndexEntry[];
  /** Every index of the reading: what came in since names old places, and goes. */
  readonly knownIndexes: readonly string[];
  /** The documents that tell of the replacements, ascending; the first follows the reading's newest. */
  readonly snapshot: readonly SnapshotDocument[];
  /** Bytes the step wrote, for {@link ChainReading.writtenBytes}. */
  readonly writtenBytes: number;
}

export interface LeaseRequest extends ChainAddress {
  /** Names the lease; a repeat renews it. */
  readonly id: string;
  /** The point (or head) whose view is read. */
  readonly root: ManifestRef;
  /** An ancestor, where what changed since then is read too; kept by whoever asks. */
  readonly base?: ManifestRef | null;
  /** Who holds it, for people. */
  readonly holder: string;
  /** From now on, by the catalogue's clock; null while a VM runs on the view: it ends by {@link ChainLedger.releaseLease} alone. */
  readonly ttlMs: number | null;
}

/** What a reader is given along with a point: only what the view of this path needs. */
export interface ResolvedView {
  readonly root: ManifestRef;
  readonly indexes: readonly IndexEntry[];
  /** Layers that no index covers, newest first. */
  readonly layers: readonly ManifestRef[];
  /** Of segments that those layers list; while there are few, of all that the path lists, for when an index turns out to be lost. */
  readonly replacements: readonly Replacement[];
  readonly expiresAt: Date | null;
}

export interface SweepLimits {
  /** How long after its doom (or its first sighting) an object stays. */
  readonly graceMs: number;
  /** What a tenant's chains lose together within so long counts as one sweep. */
  readonly windowMs: number;
  /** Above both this share of the tenant's bytes and `freeBytes`, a sweep needs an approval. */
  readonly bytesShareMax: number;
  readonly freeBytes: number;
  readonly objectsMax: number;
}

/** A sweep that was too large to be done without an operator's word. */
export interface HeldSweep {
  /** SHA-256 over the names and sizes of its objects: it names this very sweep. */
  readonly digest: string;
  readonly objects: number;
  readonly bytes: number;
  /** Of the tenant, when it was found. */
  readonly storedBytes: number;
  readonly foundAt: Date;
}

/** An object that is to be deleted: from here on nothing refers to its name any more. */
export interface CondemnedObject {
  /** Below the chain's prefix: `s/…`, `x/…`. */
  readonly name: string;
  readonly sizeBytes: number;
}

/**
 * The truth about what of a chain stands where, beside the {@link ReplicaCatalogue}'s about what was committed: replacements, indexes, leases, dooms.
 * Each method is one transaction and may be repeated; times are the catalogue's, never a worker's or the store's.
 *
 * What it keeps true, whatever runs at the same time and wherever a process ends:
 * - Every live record of every kept position is in a segment that is not condemned.
 * - An object is deleted only after it was condemned here, and a condemned name is refused to whoever would refer to it ({@link hold}, {@link switch},
 *   the catalogue's `recordSegment` and `commit`) until long after the deletion. So the order "put, then tell" is safe against "condemn, then delete".
 */
export abstract class ChainLedger {
  abstract read(address: ChainAddress): Promise<ChainReading>;

  /** Leases the view of a kept position and says how to open it: `point.not-found` when nothing keeps the position any more. */
  abstract leaseView(request: LeaseRequest): Promise<ResolvedView>;

  /** Ends a lease, or finds it ended. */
  abstract releaseLease(address: ChainAddress, id: string): Promise<void>;

  /**
   * Before an object of maintenance is written: its name (below the chain's prefix) is not taken for a stray until `ttlMs` from now on.
   * `maintenance.name-taken` when it is condemned, or that of a segment that stands or that a cycle uploaded. A segment that compaction made before and that is doomed can be held, and a
   * switch to it takes it back: what lives may come together again as it once was.
   */
  abstract hold(address: ChainAddress, name: string, ttlMs: number): Promise<void>;

  /**
   * Remembers what a census counted, in place of all counts of buckets that lie within this one.
   * `maintenance.conflict` when the revision is another, or the bucket's end is kept no more.
   */
  abstract recordCensus(address: ChainAddress, revision: number, bucket: CountedBucket): Promise<void>;

  /** Adds indexes that were built from places of this revision, and drops others. `maintenance.conflict`. */
  abstract changeIndexes(
    address: ChainAddress,
    change: Pick<Switch, 'revision' | 'addIndexes' | 'dropIndexes' | 'writtenBytes'>,
  ): Promise<void>;

  /** Notes blocks that cost more than they should, for their writer to be asked for; a bounded number, the first to come. */
  abstract noteCostlyBlocks(address: ChainAddress, blocks: readonly BlockPosition[]): Promise<void>;

  /**
   * Of the blocks that were noted, those that the writer of this open cycle is to send whole, at most so many bytes, and in all no more than an eighth of what was sent
   * unasked. One is asked for again only if its cycle does not commit; a repeat for the same cycle finds the same.
   */
  abstract askForWhole(address: ChainAddress, cycle: bigint, bytesMax: number): Promise<BlockPosition[]>;

  /** Notes documents that were written after the newest one known: `maintenance.conflict` when others came before them. */
  abstract recordSnapshot(address: ChainAddress, documents: readonly SnapshotDocument[]): Promise<void>;

  /** Replaces and dooms segments. `maintenance.conflict`: nothing changed; read again and start anew. */
  abstract switch(address: ChainAddress, change: Switch): Promise<void>;

  /** Dooms what ended cycles uploaded and no manifest lists. Says how many. */
  abstract doomLeftovers(address: ChainAddress): Promise<number>;

  /** Which of these names no row stands for: neither a segment, list, manifest, index or snapshot of the chain, nor a hold. */
  abstract strangersAmong(address: ChainAddress, names: readonly string[]): Promise<string[]>;

  /**
   * Which of these names this catalogue cannot account for: manifests of cycles it never gave out or never bound to one, snapshots that are none of its
   * own and that it never held, of whatever sequence. Whoever wrote them stood on another state than this one.
   */
  abstract unaccountable(address: ChainAddress, strangers: readonly string[]): Promise<string[]>;

  /** The instant, by the catalogue's clock, that a listing which begins now tells of. */
  abstract beginListing(address: ChainAddress): Promise<Date>;

  /**
   * A whole listing of the store, begun at `listedAt`, found these strangers and no other. Remembers since when each is seen. What was condemned or deleted since
   * then may be listed all the same: only what was deleted before and is here again is a new stray.
   */
  abstract sight(address: ChainAddress, strangers: readonly CondemnedObject[], listedAt: Date): Promise<void>;

  /**
   * Condemns what was doomed or first sighted longer than the grace ago, is referred to by nothing *now*, and is in no view leased before its doom.
   * Gives all that is condemned and not yet reported as deleted, also from earlier calls.
   *
   * What is more than the limits allow to the tenant's chains together is held: `collection.over-limit` (details: `sweep`, its digest, `bytes`, `objects`), nothing was
   * condemned. A held sweep that was approved passes once, as far as it is still due, and nothing beside it.
   */
  abstract condemn(address: ChainAddress, limits: SweepLimits): Promise<CondemnedObject[]>;

  /** Which of these names are still to be deleted: condemned, and not reported as deleted by anybody. Asked again all along a long deletion. */
  abstract stillCondemned(address: ChainAddress, names: readonly string[]): Promise<string[]>;

  abstract recordDeleted(address: ChainAddress, names: readonly string[]): Promise<void>;

  /** Forgets what was deleted longer than the grace ago. What manifests list stays known as replaced. */
  abstract purge(address: ChainAddress, graceMs: number): Promise<void>;

  /** What waits for an operator's word. */
  abstract heldSweep(address: ChainAddress): Promise<HeldSweep | null>;
}
