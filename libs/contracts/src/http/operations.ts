import { z } from 'zod';
import { displayName, instant, sha256Hex, uuid } from '../common/index.js';

/** What only the provider's people see. */
export const replicaNodeView = z.object({
  id: uuid,
  name: z.string(),
  state: z.enum(['active', 'draining', 'revoked']),
  connected: z.boolean(),
  accelerator: z.enum(['kvm', 'tcg']).nullable(),
  cpus: z.int().nullable(),
  memoryMiB: z.int().nullable(),
  memoryFreeMiB: z.int().nullable(),
  replicaCount: z.int(),
  version: z.string(),
  lastSeenAt: instant.nullable(),
});
export type ReplicaNodeView = z.infer<typeof replicaNodeView>;

export const revokeReplicaNode = z.object({ reason: displayName });

export const receiverView = z.object({
  name: z.string(),
  url: z.string(),
  startedAt: instant,
  lastSeenAt: instant,
  connected: z.boolean(),
  connections: z.int(),
  uploads: z.int(),
  receivedBytes: z.int(),
  version: z.string(),
});
export type ReceiverView = z.infer<typeof receiverView>;

export const jobView = z.object({
  id: uuid,
  kind: z.string(),
  tenantId: uuid.nullable(),
  tenantName: displayName.nullable(),
  subject: z.string().nullable(),
  step: z.string().nullable(),
  state: z.enum(['running', 'waiting', 'retrying', 'undoing', 'succeeded', 'failed']),
  attempts: z.int(),
  startedAt: instant,
  finishedAt: instant.nullable(),
  failureCode: z.string().nullable(),
});
export type JobView = z.infer<typeof jobView>;

/** How sound a chain's objects are, and when that was last looked at. */
export const scrubView = z.object({
  relationshipId: uuid,
  tenantName: displayName,
  vmName: z.string(),
  objectCount: z.int(),
  /** In quarantine. */
  damagedCount: z.int(),
  /** Read by all turns together. */
  verifiedBytes: z.int(),
  /** When the object that waits longest was verified; null before the first turn. */
  oldestVerifiedAt: instant.nullable(),
  scrubbedAt: instant.nullable(),
  dueAt: instant.nullable(),
  /** Why the last turn broke off. */
  failureCode: z.string().nullable(),
});
export type ScrubView = z.infer<typeof scrubView>;

/** What collection would delete of one chain, more than goes without the word of two operators. */
export const heldSweepView = z.object({
  /** Over the names and sizes of all its objects: an approval is of this very sweep. */
  digest: sha256Hex,
  tenantId: uuid,
  tenantName: displayName,
  vmName: z.string(),
  chainId: uuid,
  objectCount: z.int(),
  bytes: z.int(),
  /** Of the tenant, when it was found. */
  storedBytes: z.int(),
  foundAt: instant,
  state: z.enum(['awaiting-approval', 'awaiting-second-approval', 'approved']),
  firstApproval: z.object({ by: z.string(), at: instant }).nullable(),
  secondApproval: z.object({ by: z.string(), at: instant }).nullable(),
});
export type HeldSweepView = z.infer<typeof heldSweepView>;

/** Without a relationship: everything of everybody. */
export const startScrub = z.strictObject({ relationshipId: uuid.optional() });
export const startedScrub = z.object({ chainCount: z.int() });
