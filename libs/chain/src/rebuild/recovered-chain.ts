import type { BranchId } from '#libs/kernel';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import type { Epoch } from '../cycle-number.js';
import type { WrappedKeyKind } from '../keys/wrapped-key.js';
import type { SnapshotDocument } from '../maintenance/chain-ledger.js';
import type { SnapshotContent } from '../maintenance/snapshot-codec.js';
import type { ListEntry } from '../manifest/list-page.js';
import type { Manifest, ManifestRef } from '../manifest/manifest.js';
import type { RelationshipRecord } from './relationship-record.js';

/** A manifest that counts: whatever was acknowledged is among these. */
export interface RecoveredManifest {
  readonly ref: ManifestRef;
  readonly manifest: Manifest;
  /** Somebody may choose it: the snapshot keeps it, or it is newer than the snapshot. */
  readonly isPoint: boolean;
  /** What its list pages name; a replaced one need not be in the store any more. */
  readonly segments: readonly ListEntry[];
}

export interface RecoveredBranch {
  readonly branchId: BranchId;
  /** Where it grew out of another branch; null for a chain's first. */
  readonly frozen: ManifestRef | null;
  readonly head: ManifestRef | null;
}

export interface RecoveredKey {
  readonly kind: WrappedKeyKind;
  readonly generation: number;
  readonly recipient: string;
}

/**
 * Why something in the store does not count.
 * - `superseded`: a later attempt at the same place was made, so this one was never acknowledged;
 * - `fenced-off`: written by somebody who had lost the role, so never acknowledged;
 * - `unreadable`: damaged, or of a version that is not known;
 * - `incomplete`: a list page or a segment is missing: never acknowledged and cleared away, or damaged;
 * - `parent-missing`: what it stands on does not count.
 */
export type LeftOutReason = 'superseded' | 'fenced-off' | 'unreadable' | 'incomplete' | 'parent-missing';

export interface LeftOut {
  /** Below the chain's prefix: `m/…`, `f/…`, `v/…`, `r/…`. */
  readonly name: string;
  readonly reason: LeftOutReason;
  /** What is missing, or the code of the error. */
  readonly detail: string;
}

/** A chain as its objects tell it, without a database and without a key. */
export interface RecoveredChain extends ChainAddress {
  /** The highest that anything in the store tells of. */
  readonly epoch: Epoch;
  /** The branch that was written to last; null where nothing counts. */
  readonly branchId: BranchId | null;
  readonly branches: readonly RecoveredBranch[];
  /** From the lowest cycle to the highest: parents first. */
  readonly manifests: readonly RecoveredManifest[];
  /** The snapshot that was gone by. */
  readonly snapshot: SnapshotDocument | null;
  /** All that it is made of, newest first. */
  readonly documents: readonly Pick<SnapshotDocument, 'sequence' | 'sha256'>[];
  /** Segments that compaction made, and what stands in the place of what. */
  readonly segments: SnapshotContent['segments'];
  readonly replacements: SnapshotContent['replacements'];
  /** Of the newest kept position; what lies behind it is newer than the snapshot. 0 without a snapshot. */
  readonly snapshotCycle: bigint;
  /** All that the snapshot keeps, also what the store does not show whole at present. */
  readonly keptCycles: ReadonlySet<bigint>;
  /** Documents of snapshots that are not part of {@link snapshot}. */
  readonly strayDocuments: readonly string[];
  readonly keys: readonly RecoveredKey[];
  /** Whose chain it is; null where the store does not tell, or tells several. */
  readonly relationship: RelationshipRecord | null;
  /** At most {@link LEFT_OUT_MAX}, by name. */
  readonly leftOut: readonly LeftOut[];
  readonly leftOutCount: number;
}

/** A store that anybody wrote into tells no more than this of what does not count. */
export const LEFT_OUT_MAX = 10_000;
