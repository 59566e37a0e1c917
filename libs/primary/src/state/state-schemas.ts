import { z } from 'zod';
import { authorizationTag, fqdn, sha256Hex, u64, uuid } from '#libs/contracts/common';

/** `config.json`: what enrolment found out and what an administrator may change. A running agent reads it at its start. */
export const agentConfig = z.strictObject({
  version: z.literal(1),
  tenantId: uuid,
  agentId: uuid,
  fqdn,
  tag: authorizationTag,
  /** The tenant's public key that data keys are wrapped to, SubjectPublicKeyInfo, base64; checked against the token's pin at enrolment. */
  tenantKey: z.base64().min(1),
  /** Where it is the tenant, another key is used only at the tenant's own word. */
  tenantKeyHolder: z.enum(['provider', 'tenant']).default('provider'),
  /** QMP sockets, or directories with `*.qmp` sockets in them. */
  qmpSockets: z.array(z.string().min(1)).default([]),
  /** For all uploads together; null is no limit. */
  bandwidthBytesPerSecond: z.int().min(65_536).nullable().default(null),
  /** Where snapshots keep what the guest overwrites: on a local disk, for the hypervisor to read and write, ≤ 80 bytes long. */
  scratchDirectory: z.string().min(1).max(80),
  /** For each disk of a snapshot. */
  scratchLimitBytes: z
    .int()
    .min(16 * 1024 * 1024)
    .default(4 * 1024 ** 3),
  /** How many VMs replicate at the same time. */
  transfersMax: z.int().min(1).max(64).default(6),
  /** Threads that compress and seal. */
  segmentWorkers: z.int().min(1).max(32).default(2),
  /** A program that runs while the snapshot of a recovery point exists. */
  snapshotHook: z
    .strictObject({ command: z.string().min(1), args: z.array(z.string()).default([]), timeoutMs: z.int().min(1000).default(60_000) })
    .nullable()
    .default(null),
});
export type AgentConfig = z.infer<typeof agentConfig>;

/**
 * `vms/<sourceId>.json`: which chain ordinal each device of a VM has, and a random id of this very assignment. Marks in the hypervisor
 * carry the id: when this file is lost, former marks are foreign, and no disk is ever continued under another disk's ordinal.
 */
export const storedVm = z.strictObject({
  trackingId: z.string().regex(/^[0-9a-f]{32}$/),
  ordinals: z.record(z.string(), z.int().min(0).max(65_534)),
  nextOrdinal: z.int().min(0).max(65_535),
});
export type StoredVm = z.infer<typeof storedVm>;

/** `relationships/<id>/state.json`: where the next cycle goes on. All of it can be lost: the next cycle then carries more, never less. */
export const storedRelationship = z.strictObject({
  /** The generation that this agent's writing began with in this role; null before the first. */
  keyGeneration: z.int().min(1).max(65_535).nullable(),
  /** The epoch's counter and incarnation for which that generation was made. */
  keyEpoch: z.string().nullable(),
  /** What the last commit carried, and how big its disks were then. */
  lastCommit: z
    .strictObject({
      cycle: u64,
      /** As this agent reckoned it: the receiver cannot slip another history under the next manifest. */
      path: sha256Hex,
      manifestKind: z.enum(['staging', 'point']),
      phase: z.enum(['initial', 'resynchronization', 'delta']),
      /** Staging cycles since the copy began. */
      round: z.int().min(0),
      changedBytes: z.int().min(0),
      diskSizes: z.record(z.string(), z.int().min(0)),
    })
    .nullable(),
});
export type StoredRelationship = z.infer<typeof storedRelationship>;

/** `relationships/<id>/keys/<kind>-<generation>.json`: a key and the wrapped object that must be durable at the provider before its first use. */
export const storedKey = z.strictObject({
  chainId: uuid,
  kind: z.enum(['data', 'fingerprint']),
  generation: z.int().min(0).max(65_535),
  key: z.base64(),
  wrapped: z.base64(),
  uploaded: z.boolean(),
});
export type StoredKey = z.infer<typeof storedKey>;
