import { z } from 'zod';
import { displayName, failoverState, failoverType, instant, uuid } from '../common/index.js';

/** Start-VMFailover. Without a recovery point the newest is taken. */
export const startFailover = z.object({
  type: failoverType.exclude(['Planned']),
  recoveryPointId: uuid.optional(),
  /** Takes the named point though a part of it is damaged in the store. */
  allowDamaged: z.boolean().default(false),
});

export const failoverStepView = z.object({
  name: z.string(),
  state: z.enum(['pending', 'running', 'waiting', 'succeeded', 'failed', 'undoing', 'undone']),
  startedAt: instant.nullable(),
  finishedAt: instant.nullable(),
  message: z.string().nullable(),
});

export const failoverView = z.object({
  id: uuid,
  relationshipId: uuid,
  vmName: displayName,
  type: failoverType,
  state: failoverState,
  recoveryPointId: uuid,
  recoveryPointInstant: instant,
  replicaNodeId: uuid.nullable(),
  replicaNodeName: z.string().nullable(),
  /** The node that owns the replica has not been heard of for so long that it may be lost; the provider's people are told. */
  replicaNodeSilent: z.boolean(),
  /** `tenant-keys`: nothing goes on until the tenant releases its keys for this failover. */
  waitingFor: z.enum(['tenant-keys']).nullable(),
  steps: z.array(failoverStepView),
  requestedAt: instant,
  /** When the guest gave its own sign of life, or was left running without one; recovery time is counted from `requestedAt` to here. */
  upAt: instant.nullable(),
  rtoSeconds: z.number().nullable(),
  bootMs: z.number().nullable(),
  /** The guest gave its own sign of life. False while `upAt` says that it runs: nobody knows; look at its console. */
  bootVerified: z.boolean(),
  /** The code of what speaks against a guest that runs unverified: `boot.no-sign`, `boot.kernel-panic` … */
  bootDoubt: z.string().nullable(),
  console: z.string(),
  hasScreenshot: z.boolean(),
  failureCode: z.string().nullable(),
  failureMessage: z.string().nullable(),
});
export type FailoverView = z.infer<typeof failoverView>;
