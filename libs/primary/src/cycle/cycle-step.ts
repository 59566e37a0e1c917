import { createHash } from 'node:crypto';
import type { CycleKind, ManifestKind, ReplicationState } from '#libs/contracts/common';
import type { WireRelationship } from '#libs/contracts/wire';
import { MIB } from '#libs/kernel';
import type { StoredRelationship } from '../state/state-schemas.js';

/** What the next cycle of a relationship is. */
export interface CycleStep {
  readonly phase: 'initial' | 'resynchronization' | 'delta';
  readonly kind: CycleKind;
  readonly manifestKind: ManifestKind;
  /** A point is read from a snapshot of all disks, a staging cycle from the running disks. */
  readonly readKind: 'snapshot' | 'live';
  /** Null: everything is carried. */
  readonly since: string | null;
  /** Staging cycles of this copy so far, this one included. */
  readonly round: number;
}

/** Catch-up ends, and a snapshot begins, when a round carried no more than this, or after so many rounds: a disk that is written faster than the line carries never gets small. */
const CATCH_UP_BYTES_SMALL = 64 * MIB;
const CATCH_UP_ROUNDS_MAX = 6;

/**
 * A mark names a committed cycle of a chain, under one assignment of disks to ordinals. So the hypervisor's marks and the chain's head together tell
 * whether changes are known since the head: no memory of the agent is needed, and none can mislead.
 */
export function markOf(trackingId: string, chainId: string, cycle: string): string {
  const scope = createHash('sha256').update(`${trackingId} ${chainId}`).digest('hex').slice(0, 24);
  return `hf-${scope}-${cycle}`;
}

export interface StepFacts {
  readonly relationship: Pick<WireRelationship, 'chainId' | 'head' | 'hasPoint' | 'state'>;
  readonly trackingId: string;
  readonly marks: readonly string[];
  readonly lastCommit: StoredRelationship['lastCommit'];
}

/** Decides the next cycle. Without tracking since the head everything is carried, over the chain as it is: recovery points stay. */
export function nextStep({ relationship, trackingId, marks, lastCommit }: StepFacts): CycleStep {
  const { head, chainId, hasPoint, state } = relationship;
  const copyPhase = hasPoint ? 'resynchronization' : 'initial';
  const since = head === null ? null : markOf(trackingId, chainId, head.cycle);
  if (head === null || since === null || !marks.includes(since)) {
    return { phase: copyPhase, kind: copyPhase, manifestKind: 'staging', readKind: 'live', since: null, round: 1 };
  }
  // Of a head that this agent knows nothing of, only the receiver's word tells whether it is a point.
  const last = lastCommit?.cycle === head.cycle ? lastCommit : null;
  const isStaging = last === null ? !hasPoint : last.manifestKind === 'staging';
  if (isStaging && !isCaughtUp(last)) {
    const phase = last?.phase === 'resynchronization' ? 'resynchronization' : copyPhase;
    return { phase, kind: phase, manifestKind: 'staging', readKind: 'live', since, round: (last?.round ?? 1) + 1 };
  }
  // Where the receiver waits for a resynchronization, known changes are all it takes.
  const kind = RESYNCHRONIZING.has(state) ? 'resynchronization' : 'delta';
  return { phase: 'delta', kind, manifestKind: 'point', readKind: 'snapshot', since, round: 0 };
}

function isCaughtUp(last: StoredRelationship['lastCommit']): boolean {
  if (last === null) return false;
  return (last.round > 1 && last.changedBytes <= CATCH_UP_BYTES_SMALL) || last.round >= CATCH_UP_ROUNDS_MAX;
}

const RESYNCHRONIZING: ReadonlySet<ReplicationState> = new Set<ReplicationState>(['WaitingForStartResynchronize', 'Resynchronizing']);

/** The states in which the agent replicates; in any other it keeps its marks and waits. */
const ACTIVE: ReadonlySet<ReplicationState> = new Set<ReplicationState>([
  'ReadyForInitialReplication',
  'InitialReplicationInProgress',
  'Replicating',
  'WaitingForStartResynchronize',
  'Resynchronizing',
]);

export function isActive(relationship: Pick<WireRelationship, 'mode' | 'state'>): boolean {
  return relationship.mode === 'Primary' && ACTIVE.has(relationship.state);
}
