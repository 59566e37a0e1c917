import { z } from 'zod';
import {
  exportFormat,
  authorizationTag,
  consistency,
  cycleKind,
  cycleState,
  diskDefinition,
  displayName,
  dropCode,
  epoch,
  instant,
  keepCode,
  plainText,
  replicationHealth,
  replicationMode,
  replicationState,
  u64,
  uuid,
  vmDefinition,
} from '../common/index.js';
import { replicationPolicy } from '../wire/replication.js';
import { extendedReplicationView } from './extended-replication.js';

export const vmView = z.object({
  id: uuid,
  agentId: uuid,
  name: displayName,
  power: z.enum(['running', 'paused', 'off', 'unknown']),
  obstacle: z.string().nullable(),
  definition: vmDefinition,
  relationshipId: uuid.nullable(),
  reportedAt: instant,
});
export type VmView = z.infer<typeof vmView>;

/** Enable-VMReplication. */
export const enableReplication = z.object({ vmId: uuid, policy: replicationPolicy.optional() });
export const changeReplication = z.object({ policy: replicationPolicy });

export const relationshipView = z.object({
  id: uuid,
  vmId: uuid,
  vmName: displayName,
  agentId: uuid,
  chainId: uuid,
  tag: authorizationTag,
  mode: replicationMode,
  state: replicationState,
  health: replicationHealth,
  /** Why the health is not Normal, each with what mends it. */
  healthDetails: z.array(z.object({ code: z.string(), message: z.string() })),
  epoch,
  policy: replicationPolicy,
  /** Age of what the newest recovery point holds: of its instant, not of its arrival. */
  rpoSeconds: z.number().nullable(),
  lastReplicationAt: instant.nullable(),
  recoveryPointCount: z.int(),
  storedBytes: z.int(),
  /** Extended replication, with a health of its own; null where there is none. */
  extended: extendedReplicationView.nullable(),
  createdAt: instant,
});
export type RelationshipView = z.infer<typeof relationshipView>;

export const cycleView = z.object({
  id: uuid,
  cycle: u64,
  kind: cycleKind,
  state: cycleState,
  manifestKind: z.enum(['staging', 'point']).nullable(),
  startedAt: instant,
  endedAt: instant.nullable(),
  changedBytes: z.int().nullable(),
  sentBytes: z.int(),
  segmentCount: z.int(),
  resumedUploads: z.int().nullable(),
  pauseMs: z.number().nullable(),
  durationMs: z.number().nullable(),
  failureCode: z.string().nullable(),
  failureMessage: z.string().nullable(),
});
export type CycleView = z.infer<typeof cycleView>;

export const recoveryPointView = z.object({
  id: uuid,
  relationshipId: uuid,
  branchId: uuid,
  sequence: z.int(),
  cycle: u64,
  /** The agent's instant of the point; `committedAt` is the provider's. */
  instant,
  committedAt: instant,
  consistency,
  disks: z.array(diskDefinition),
  sentBytes: z.int(),
  /** Nobody can remove the point before this instant; null where it was never promised, or the time is over. */
  immutableUntil: instant.nullable(),
  pin: z.object({ note: z.string(), pinnedAt: instant }).nullable(),
  /** A part of it is damaged in the store: it is not used unless somebody says that it is to be. */
  isDamaged: z.boolean(),
});
export type RecoveryPointView = z.infer<typeof recoveryPointView>;

/** A pinned point stays until it is unpinned, whatever the policy says. */
export const pinPoint = z.object({ note: plainText(500).default('') });

/** What retention means for one point. `reasons` say why it stays, all of them; `drop` why it goes. */
export const plannedPointView = z.object({
  id: uuid,
  branchId: uuid,
  sequence: z.int(),
  instant,
  committedAt: instant,
  consistency,
  isKept: z.boolean(),
  reasons: z.array(
    z.object({
      code: keepCode,
      /** The tier whose slot it has, and the instant at which the slot began. */
      everyMinutes: z.int().optional(),
      slotStart: instant.optional(),
      consistency: consistency.optional(),
      /** When this reason ends by itself. */
      until: instant.optional(),
      note: z.string().optional(),
    }),
  ),
  drop: dropCode.nullable(),
});
export type PlannedPointView = z.infer<typeof plannedPointView>;

/** What retention would do at this instant, newest point first. */
export const retentionPlanView = z.object({
  relationshipId: uuid,
  plannedAt: instant,
  keptCount: z.int(),
  removedCount: z.int(),
  points: z.array(plannedPointView),
});
export type RetentionPlanView = z.infer<typeof retentionPlanView>;
/** A policy that is not in force, to see its plan before. */
export const previewRetention = z.object({ policy: replicationPolicy });

export const createExport = z.object({
  diskOrdinal: z.int().min(0).max(65_534),
  format: exportFormat,
  /** An export of an ancestor point as VHD or VHDX: the result, of the same kind, is then a differencing one on top of it. */
  baseExportId: uuid.optional(),
  /** Takes the point though a part of it is damaged in the store. */
  allowDamaged: z.boolean().default(false),
});
export const exportView = z.object({
  id: uuid,
  recoveryPointId: uuid,
  diskOrdinal: z.int(),
  format: exportFormat,
  baseExportId: uuid.nullable(),
  state: z.enum(['Queued', 'InProgress', 'Completed', 'Failed']),
  fileName: z.string(),
  sizeBytes: z.int().nullable(),
  failureCode: z.string().nullable(),
  failureMessage: z.string().nullable(),
  createdAt: instant,
});
export type ExportView = z.infer<typeof exportView>;
