import type { BranchId, RecoveryPointId } from '#libs/kernel';
import type { Epoch } from '../cycle-number.js';
import type { ManifestRef } from '../manifest/manifest.js';
import type { ListEntry } from '../manifest/list-page.js';
import { comparePositions } from '../segment/segment-summary.js';
import { catalogueErrors as errors } from './catalogue-errors.js';
import { checkDisjoint } from './check-commit.js';
import type { ChainAddress, ChainState, CommitCycle, CommittedPoint, CycleState } from './replica-catalogue.js';

/** A row of cycles. */
export interface CycleRow {
  readonly state: Omit<CycleState, 'status' | 'leaseExpiresAt' | 'manifestSha256' | 'segments'>;
  readonly writerId: string;
  status: CycleState['status'];
  leaseExpiresAtMs: number;
  manifestSha256: string | null;
  committed: CommittedPoint | null;
  readonly segments: Map<string, SegmentRow>;
  readonly lists: Map<string, number>;
}

export interface SegmentRow extends ListEntry {
  /** What a cycle uploaded, what a manifest lists, what compaction made. */
  role: 'uploaded' | 'listed' | 'compacted';
  doomedAtMs: number | null;
  /** Its object is to be deleted, or is. The row stays while a manifest lists it. */
  isCondemned: boolean;
  /** Of a listed one: what stands for it. */
  replacedBy: readonly string[] | null;
}

/** An object that no other row stands for: about to be written, seen in the store, or to be deleted. */
export const STRAY = { sizeBytes: 0, heldUntilMs: null, sightedAtMs: null, condemnedAtMs: null, deletedAtMs: null };

export interface StrayRow {
  readonly sizeBytes: number;
  /** Null when nobody ever said that it would be written. */
  readonly heldUntilMs: number | null;
  readonly sightedAtMs: number | null;
  readonly condemnedAtMs: number | null;
  readonly deletedAtMs: number | null;
}

export interface BranchRow {
  readonly frozenPoint: RecoveryPointId | null;
  head: ManifestRef | null;
}

export interface ChainRow {
  readonly address: ChainAddress;
  readonly firstBranchId: BranchId;
  tag: string;
  epoch: Epoch;
  branchId: BranchId;
  readonly branches: Map<BranchId, BranchRow>;
  readonly keys: Set<string>;
  readonly generations: Set<number>;
  readonly points: CommittedPoint[];
  /** Points that retention or a person deleted; their manifests stay. */
  readonly deletedPoints: Set<RecoveryPointId>;
  readonly segments: Map<string, SegmentRow>;
  /** By name below the chain's prefix. */
  readonly strays: Map<string, StrayRow>;
}

/** Refuses what is not recorded, is doomed, or overlaps; the rest is listed from now on. */
export function listSegments({ manifest, segments: names }: CommitCycle, cycle: CycleRow): void {
  let listed = 0;
  for (const { sha256, entryCount } of manifest.lists) {
    if (cycle.lists.get(sha256) !== entryCount) throw errors.listMissing(sha256);
    listed += entryCount;
  }
  if (listed !== names.length) throw errors.manifestMismatch('lists');
  const segments = names.map((sha256) => {
    const segment = cycle.segments.get(sha256);
    if (segment === undefined || segment.doomedAtMs !== null) throw errors.segmentMissing(sha256);
    return segment;
  });
  checkDisjoint(segments);
  for (const segment of segments) segment.role = 'listed';
}

export function chainStateOf({ address, epoch, tag, branchId, branches }: ChainRow): ChainState {
  return { ...address, epoch, tag, branchId, head: branches.get(branchId)!.head };
}

export function cycleStateOf(cycle: CycleRow): CycleState {
  const segments = [...cycle.segments.values()].map(({ sha256, first, last }) => ({ sha256, first, last }));
  return {
    ...cycle.state,
    status: cycle.status,
    leaseExpiresAt: new Date(cycle.leaseExpiresAtMs),
    manifestSha256: cycle.manifestSha256,
    segments: segments.sort((a, b) => comparePositions(a.first, b.first)),
  };
}

/** Nothing may refer to the name: its object is deleted, or will be. */
export function isCondemned({ strays }: Pick<ChainRow, 'strays'>, name: string): boolean {
  return (strays.get(name)?.condemnedAtMs ?? null) !== null;
}

export function isHeld({ heldUntilMs }: StrayRow, nowMs: number): boolean {
  return heldUntilMs !== null && heldUntilMs > nowMs;
}
