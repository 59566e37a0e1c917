import { z } from 'zod';

/** Hyper-V Replica's names, as strings, never numbers. The subset that Holdfast can be in. */
export const replicationState = z.enum([
  'Disabled',
  'ReadyForInitialReplication',
  'InitialReplicationInProgress',
  'WaitingForInitialReplication',
  'Replicating',
  'PreparedForFailover',
  'FailedOverWaitingCompletion',
  'FailedOver',
  'Suspended',
  'Error',
  'WaitingForStartResynchronize',
  'Resynchronizing',
  'ResynchronizeSuspended',
  'FailbackInProgress',
  'FailbackComplete',
]);
export type ReplicationState = z.infer<typeof replicationState>;

export const replicationHealth = z.enum(['NotApplicable', 'Normal', 'Warning', 'Critical']);
export type ReplicationHealth = z.infer<typeof replicationHealth>;

/** Whose disks are the truth: `Primary` while the tenant's site writes, `Replica` once the replica cluster does. */
export const replicationMode = z.enum(['None', 'Primary', 'Replica', 'TestReplica', 'ExtendedReplica']);
export type ReplicationMode = z.infer<typeof replicationMode>;

export const cycleKind = z.enum(['initial', 'delta', 'resynchronization', 'reverse']);
export type CycleKind = z.infer<typeof cycleKind>;

/** A staging commit is a parent for the next one but can never be chosen; only a point can. */
export const manifestKind = z.enum(['staging', 'point']);
export type ManifestKind = z.infer<typeof manifestKind>;

export const cycleState = z.enum(['open', 'committed', 'voided', 'failed']);
export type CycleState = z.infer<typeof cycleState>;

export const consistency = z.enum(['crash', 'application']);
export type Consistency = z.infer<typeof consistency>;

export const failoverType = z.enum(['Test', 'Planned', 'Unplanned']);
export type FailoverType = z.infer<typeof failoverType>;

export const failoverState = z.enum(['Queued', 'InProgress', 'Running', 'Completed', 'Cancelling', 'Cancelled', 'Failed']);
export type FailoverState = z.infer<typeof failoverState>;
