import type { ReplicationState } from '#libs/contracts/common';
import { CodedError } from '#libs/kernel';

/** Rows are states, cells are event → next state. An absent cell is refused, never ignored. */
const TRANSITIONS = {
  Disabled: {},
  ReadyForInitialReplication: {
    initialStarted: 'InitialReplicationInProgress',
    // After a resume: the copy was complete before, and its first point was all that lacked.
    pointCommitted: 'Replicating',
    suspended: 'Suspended',
    failed: 'Error',
    removed: 'Disabled',
  },
  InitialReplicationInProgress: {
    // A new attempt, or the next staging cycle of the same copy.
    initialStarted: 'InitialReplicationInProgress',
    pointCommitted: 'Replicating',
    suspended: 'Suspended',
    failed: 'Error',
    removed: 'Disabled',
  },
  Replicating: {
    pointCommitted: 'Replicating',
    suspended: 'Suspended',
    failed: 'Error',
    trackingLost: 'WaitingForStartResynchronize',
    resynchronizationStarted: 'Resynchronizing',
    failedOver: 'FailedOverWaitingCompletion',
    removed: 'Disabled',
  },
  Suspended: {
    resumedInitial: 'ReadyForInitialReplication',
    resumed: 'Replicating',
    failedOver: 'FailedOverWaitingCompletion',
    removed: 'Disabled',
  },
  // Hyper-V's rule: what can mend itself is retried without coming here; here replication waits until a person resumes it.
  Error: {
    resumedInitial: 'ReadyForInitialReplication',
    resumed: 'Replicating',
    suspended: 'Suspended',
    failedOver: 'FailedOverWaitingCompletion',
    removed: 'Disabled',
  },
  WaitingForStartResynchronize: {
    resynchronizationStarted: 'Resynchronizing',
    suspended: 'ResynchronizeSuspended',
    failed: 'Error',
    failedOver: 'FailedOverWaitingCompletion',
    removed: 'Disabled',
  },
  Resynchronizing: {
    resynchronizationStarted: 'Resynchronizing',
    pointCommitted: 'Replicating',
    suspended: 'ResynchronizeSuspended',
    failed: 'Error',
    // Hyper-V's rule: an unplanned failover cancels a resynchronization.
    failedOver: 'FailedOverWaitingCompletion',
    removed: 'Disabled',
  },
  ResynchronizeSuspended: {
    resumed: 'WaitingForStartResynchronize',
    failedOver: 'FailedOverWaitingCompletion',
    removed: 'Disabled',
  },
  FailedOverWaitingCompletion: {
    failoverCancelled: 'WaitingForStartResynchronize',
    failoverCompleted: 'FailedOver',
  },
  FailedOver: { removed: 'Disabled' },
} as const satisfies Partial<Record<ReplicationState, Partial<Record<string, ReplicationState>>>>;

type Table = typeof TRANSITIONS;
type EventOf<Row> = Row extends unknown ? keyof Row : never;
export type ReplicationEvent = EventOf<Table[keyof Table]>;

export class IllegalTransitionError extends CodedError {
  constructor(
    readonly from: ReplicationState,
    readonly event: string,
  ) {
    super('replication.illegal-transition', 'conflict', `${event} is not possible while replication is ${from}`, { from, event });
  }
}

export function nextState(from: ReplicationState, event: ReplicationEvent): ReplicationState {
  const row: Partial<Record<string, ReplicationState>> = (TRANSITIONS as Partial<Record<ReplicationState, object>>)[from] ?? {};
  const to = row[event];
  if (to === undefined) throw new IllegalTransitionError(from, event);
  return to;
}

export function canApply(from: ReplicationState, event: ReplicationEvent): boolean {
  return event in ((TRANSITIONS as Partial<Record<ReplicationState, object>>)[from] ?? {});
}

/** True in the states in which the primary's agent may open and commit cycles. */
export function acceptsCycles(state: ReplicationState): boolean {
  return canApply(state, 'pointCommitted') || canApply(state, 'initialStarted') || canApply(state, 'resynchronizationStarted');
}

/** The states that have rows: what a property test walks. */
export const MODELLED_STATES = Object.keys(TRANSITIONS) as (keyof Table)[];
export const REPLICATION_EVENTS = [...new Set(Object.values(TRANSITIONS).flatMap((row) => Object.keys(row)))] as ReplicationEvent[];
