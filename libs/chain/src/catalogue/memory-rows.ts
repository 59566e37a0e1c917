import type { BranchId, RecoveryPointId } from '#libs/kernel';
import type { Epoch } from '../cycle-number.js';
import type { ManifestRef } from '../manifest/manifest.js';
import { comparePositions } from '../segment/segment-summary.js';
import { catalogueErrors as errors } from './catalogue-errors.js';
import { checkDisjoint } from './check-commit.js';
import type { ChainAddress, ChainState, CommitCycle, CommittedPoint, CycleState, SegmentInterval } from './replica-catalogue.js';

/** A row of cycles. */
export interface CycleRow {
  readonly state: Omit<CycleState, 'status' | 'leaseExpiresAt' | 'manifestSha256' | 'segments'>;
  readonly writerId: string;
  status: CycleState['status'];
  leaseExpiresAtMs: number;
  manifestSha256: string | null;
  committed: CommittedPoint | null;
  readonly segments: Map<string, SegmentInterval & { isDoomed?: boolean }>;
  readonly lists: Map<string, number>;
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
}

/** Refuses what is not recorded, is doomed, or overlaps. */
export function checkDurable({ manifest, segments: names }: CommitCycle, cycle: CycleRow): void {
  let listed = 0;
  for (const { sha256, entryCount } of manifest.lists) {
    if (cycle.lists.get(sha256) !== entryCount) throw errors.listMissing(sha256);
    listed += entryCount;
  }
  if (listed !== names.length) throw errors.manifestMismatch('lists');
  const segments = names.map((sha256) => {
    const segment = cycle.segments.get(sha256);
    if (segment === undefined || segment.isDoomed === true) throw errors.segmentMissing(sha256);
    return segment;
  });
  checkDisjoint(segments);
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
