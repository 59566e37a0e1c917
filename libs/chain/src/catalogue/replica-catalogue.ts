import type { BranchId, ChainId, RecoveryPointId, TenantId } from '#libs/kernel';
import type { Epoch } from '../cycle-number.js';
import type { WrappedKeyKind } from '../keys/wrapped-key.js';
import type { Manifest, ManifestKind, ManifestRef } from '../manifest/manifest.js';
import type { ListEntry } from '../manifest/list-page.js';
import type { BlockPosition } from '../segment/segment-summary.js';

/** Who writes: the receiver takes both from the peer's certificate and authorization entry, never from its words. */
export interface Writer {
  /** Agent or replica node. */
  readonly id: string;
  /** Its Replication Authorization Tag. */
  readonly tag: string;
}

export interface ChainAddress {
  readonly tenantId: TenantId;
  readonly chainId: ChainId;
}

/** A cycle's number is unique within an installation, so the tenant alone says whose it must be. */
export interface CycleAddress {
  readonly tenantId: TenantId;
  readonly cycle: bigint;
}

/** Identifies a request of a writer within its cycle. */
export interface CycleRequest extends CycleAddress {
  readonly writer: Writer;
}

export interface NewChain extends ChainAddress {
  /** Its first branch. */
  readonly branchId: BranchId;
  /** The only tag that may update it. */
  readonly tag: string;
}

export interface ChainState extends ChainAddress {
  readonly epoch: Epoch;
  readonly tag: string;
  /** The branch that is written to. */
  readonly branchId: BranchId;
  /** Its newest manifest (for a fresh branch its frozen point); null before the first. */
  readonly head: ManifestRef | null;
}

export interface OpenCycle extends ChainAddress {
  readonly writer: Writer;
  readonly epoch: Epoch;
  readonly kind: ManifestKind;
  /** SHA-256 of the manifest the writer builds on; null on an empty chain. */
  readonly parent: string | null;
}

export type CycleStatus = 'open' | 'voided' | 'committed';

export interface SegmentInterval {
  readonly sha256: string;
  readonly first: BlockPosition;
  readonly last: BlockPosition;
}

export interface CycleState extends CycleAddress, ChainAddress {
  readonly status: CycleStatus;
  readonly kind: ManifestKind;
  readonly epoch: Epoch;
  readonly branchId: BranchId;
  readonly sequence: number;
  readonly parent: ManifestRef | null;
  readonly leaseExpiresAt: Date;
  /** The manifest the cycle is bound to, once it is. */
  readonly manifestSha256: string | null;
  /** What is durable already, ascending. */
  readonly segments: readonly SegmentInterval[];
}

export interface KeyGeneration extends ChainAddress {
  readonly writer: Writer;
  readonly generation: number;
  readonly kind: WrappedKeyKind;
  readonly recipient: string;
}

export interface CommitCycle extends CycleRequest {
  readonly manifest: Manifest;
  readonly manifestSha256: string;
  /** SHA-256 of every segment its list pages name. */
  readonly segments: readonly string[];
}

export interface PointFilter {
  readonly kind?: ManifestKind;
  readonly branchId?: BranchId;
}

/** A committed cycle: a recovery point, or a staging step towards the first one. */
export interface CommittedPoint extends ChainAddress {
  readonly id: RecoveryPointId;
  readonly kind: ManifestKind;
  readonly ref: ManifestRef;
  readonly parent: ManifestRef | null;
  readonly epoch: Epoch;
  readonly instant: Date;
  readonly consistency: Manifest['consistency'];
  readonly committedAt: Date;
}

export interface OpenBranch extends ChainAddress {
  /** The epoch the caller knows: `cycle.stale-epoch` when it is not the chain's. */
  readonly epoch: Epoch;
  readonly branchId: BranchId;
  /** The point at which the new branch begins. */
  readonly frozenPoint: RecoveryPointId;
}

export interface RaiseEpoch extends ChainAddress {
  readonly epoch: Epoch;
  /** The branch that is written to from now on; unchanged when absent. */
  readonly branchId?: BranchId;
}

/**
 * The truth about who may write to a chain and what was acknowledged. PostgreSQL arbitrates; the in-memory adapter serves simulation and tests.
 *
 * Every method is one transaction, and may be repeated unless it says otherwise: the same words give the same answer. A chain or cycle of another
 * tenant is `chain.not-found` or `cycle.not-found`. The caller has made segments, list pages and manifest durable *before* it tells of them here.
 *
 * Requests within a cycle fail, in this order, with what the adapter's own checks of mode and denylist refuse, `cycle.wrong-tag`, `cycle.wrong-writer`,
 * `cycle.committed`, `cycle.stale-epoch` (details: `epoch`), `cycle.voided`, `cycle.lease-expired`.
 */
export abstract class ReplicaCatalogue {
  /** `chain.exists` when it exists with another branch or tag. */
  abstract createChain(chain: NewChain): Promise<ChainState>;

  abstract chain(address: ChainAddress): Promise<ChainState>;

  /**
   * Allocates a cycle on the written branch and voids the one that was open there; each call is a new attempt.
   * `cycle.wrong-tag`, `cycle.stale-epoch` (details: `epoch`), `cycle.parent-mismatch` (details: `head`).
   */
  abstract openCycle(request: OpenCycle): Promise<CycleState>;

  abstract cycle(address: CycleAddress): Promise<CycleState>;

  /** The new end of the lease. An expired lease can be renewed while nothing else has voided the cycle. */
  abstract renewLease(request: CycleRequest): Promise<Date>;

  /** A segment of the cycle is durable. `keys.generation-unknown` while the wrapped key of one of its generations is not. */
  abstract recordSegment(request: CycleRequest, segment: ListEntry & { readonly generations: readonly number[] }): Promise<void>;

  abstract recordList(request: CycleRequest, list: { readonly sha256: string; readonly entryCount: number }): Promise<void>;

  /** A wrapped key is durable. */
  abstract recordKey(key: KeyGeneration): Promise<void>;

  /**
   * Binds the cycle to one manifest, before that is written: any other is `cycle.manifest-conflict` (details: `manifestSha256`) from then on.
   * Answers the committed point when the cycle is committed already.
   */
  abstract bindManifest(request: CycleRequest, manifestSha256: string): Promise<CommittedPoint | null>;

  /**
   * Acknowledges: checks epoch, mode, head = parent, tag, lease, denylist; that the manifest is the bound one (`cycle.manifest-conflict`) and says
   * what the cycle is (`cycle.manifest-mismatch`); that its lists (`cycle.list-missing`) and segments are recorded and not doomed
   * (`cycle.segment-missing`), and that these are disjoint (`cycle.segments-overlap`). Then moves the head.
   */
  abstract commit(request: CommitCycle): Promise<CommittedPoint>;

  /**
   * Raises the epoch, voids what is open, and may switch to another branch of the chain (`branch.not-found`).
   * A repeat is `cycle.stale-epoch` with the epoch that is now.
   */
  abstract raiseEpoch(request: RaiseEpoch): Promise<ChainState>;

  /**
   * Freezes a point, raises the epoch, voids what is open, and opens a branch at the point (`point.not-found`; a staging manifest is none).
   * A repeat gives the chain's state; the same branch at another point is `branch.exists`.
   */
  abstract openBranch(request: OpenBranch): Promise<ChainState>;

  /** Committed manifests in the order of their commits; `kind` and `branchId` narrow them. */
  abstract listPoints(address: ChainAddress, filter?: PointFilter): Promise<CommittedPoint[]>;

  /** `point.not-found`. */
  abstract point(address: ChainAddress, id: RecoveryPointId): Promise<CommittedPoint>;
}
