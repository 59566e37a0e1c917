import { z } from 'zod';
import {
  authorizationTag,
  cycleKind,
  cycleState,
  displayName,
  epoch,
  instant,
  manifestKind,
  plainText,
  replicationMode,
  replicationState,
  retentionPolicy,
  sha256Hex,
  tenantKeyLink,
  u64,
  uuid,
  vmDefinition,
} from '../common/index.js';

export const frequencySeconds = z.union([z.literal(30), z.literal(300), z.literal(900)]);

export const replicationPolicy = z
  .object({
    frequencySeconds: frequencySeconds.default(300),
    /** Hourly recovery points kept beside the newest, 0–24. */
    recoveryHistoryHours: z.int().min(0).max(24).default(24),
    bandwidthBytesPerSecond: z.int().min(65_536).nullable().default(null),
    excludedDisks: z.array(z.int().min(0).max(65_534)).max(64).default([]),
    retention: retentionPolicy.prefault({}),
  })
  .refine(({ recoveryHistoryHours, retention }) => retention.applicationConsistentEveryHours === null || recoveryHistoryHours > 0, {
    path: ['retention', 'applicationConsistentEveryHours'],
    message: 'application-consistent points need a recovery history',
  });
export type ReplicationPolicy = z.infer<typeof replicationPolicy>;

/** A committed manifest, as parent or as head; the chain's own reference with its number in decimal. */
export const manifestRef = z.object({
  branchId: uuid,
  sequence: z.int().min(0),
  cycle: u64,
  sha256: sha256Hex,
  /** Every cycle from the root to this manifest, hashed in order. */
  path: sha256Hex,
});
export type ManifestRef = z.infer<typeof manifestRef>;

/** `PUT /replication/v1/inventory`: what the agent sees, whole, at each change and at least every few minutes. */
export const inventoryReport = z.object({
  vms: z
    .array(
      z.object({
        definition: vmDefinition,
        power: z.enum(['running', 'paused', 'off', 'unknown']),
        /** Null where it can be tracked; else the reason in one sentence. */
        obstacle: plainText(500).nullable(),
      }),
    )
    .max(1000),
});
export type InventoryReport = z.infer<typeof inventoryReport>;

/** `GET /replication/v1/relationships[/{id}]`: what the agent must do, whole; it acts on the difference. */
export const wireRelationship = z.object({
  id: uuid,
  tenantId: uuid,
  chainId: uuid,
  sourceId: uuid,
  vmName: displayName,
  tag: authorizationTag,
  epoch,
  mode: replicationMode,
  state: replicationState,
  policy: replicationPolicy,
  /** Grows with each change of what is asked, so that an agent can tell an old answer from a new one. */
  revision: z.int().min(1),
  branchId: uuid,
  head: manifestRef.nullable(),
  /** False until the head is a point: initial replication is to go on with staging cycles. */
  hasPoint: z.boolean(),
  /** The highest key generation that this chain has; a new writer takes the next one. */
  keyGeneration: z.int().min(0).max(65_535),
  /** The lowest generation that may seal from now on; above the agent's own it asks for a new one. */
  keyGenerationMin: z.int().min(0).max(65_535),
});
export type WireRelationship = z.infer<typeof wireRelationship>;
/** `GET /replication/v1/relationships`: all of this agent. */
export const relationshipsAnswer = z.object({
  relationships: z.array(wireRelationship).max(1000),
  /** All versions of the tenant's key, oldest first: an agent follows them from the one that it trusts. */
  tenantKeys: z.array(tenantKeyLink).max(1000),
});
export type RelationshipsAnswer = z.infer<typeof relationshipsAnswer>;

/** `POST /replication/v1/relationships/{id}/cycles` */
export const openCycleRequest = z.object({
  epoch,
  /** Null only for the first cycle of a chain. */
  parent: manifestRef.nullable(),
  kind: cycleKind,
  /** What its commit will be. A staging manifest is a parent for the next one and can never be chosen. */
  manifestKind,
  tag: authorizationTag,
});
export type OpenCycleRequest = z.infer<typeof openCycleRequest>;

/** Neighbouring blocks of a disk. */
export const blockStretch = z.object({
  disk: z.int().min(0).max(65_535),
  block: z.int().min(0),
  count: z.int().min(1),
});
export type BlockStretch = z.infer<typeof blockStretch>;

export const WHOLE_BLOCKS_MAX = 10_000;

export const cycleAnswer = z.object({
  /** Names the cycle in routes. */
  id: uuid,
  relationshipId: uuid,
  /** Names the version of a block in records: incarnation ‖ counter. */
  cycle: u64,
  branchId: uuid,
  sequence: z.int().min(0),
  parent: manifestRef.nullable(),
  state: cycleState,
  kind: cycleKind,
  manifestKind,
  leaseExpiresAt: instant,
  leaseMs: z.int().min(1000),
  /** To be sent whole, whether they changed or not: what the parent shows of them is damaged in the store, or costs more there than one whole record. In any order. */
  wholeBlocks: z.array(blockStretch).max(WHOLE_BLOCKS_MAX).default([]),
  /** Records of older cycles that are damaged in the store, and that this writer may still have. */
  wantedRecords: z.int().min(0).default(0),
});
export type CycleAnswer = z.infer<typeof cycleAnswer>;

/** An inclusive range of (disk, block) in one durable segment. */
export const segmentInterval = z.object({
  sha256: sha256Hex,
  sizeBytes: z.int().min(1),
  firstDisk: z.int().min(0).max(65_535),
  firstBlock: z.int().min(0),
  lastDisk: z.int().min(0).max(65_535),
  lastBlock: z.int().min(0),
  recordCount: z.int().min(1),
});
export type SegmentInterval = z.infer<typeof segmentInterval>;

/** `GET /replication/v1/cycles/{id}`: enough to resume; segments come in (disk, block) order. */
export const cycleStatus = cycleAnswer.extend({ segments: z.array(segmentInterval), manifestSha256: sha256Hex.nullable() });
export type CycleStatus = z.infer<typeof cycleStatus>;

/** `PUT /replication/v1/cycles/{id}/segments/{sha256}`: 201, or 200 when it was here. */
export const segmentAnswer = segmentInterval.extend({ created: z.boolean() });

/** `POST /replication/v1/cycles/{id}/commit`, body: the manifest's bytes. Measures travel in headers, they are no part of the truth. */
export const commitAnswer = z.object({
  head: manifestRef,
  recoveryPointId: uuid.nullable(),
  committedAt: instant,
});
export type CommitAnswer = z.infer<typeof commitAnswer>;

/** `PUT /replication/v1/cycles/{id}/measures`: for tables and charts; advisory, accepted until and after the commit. */
export const cycleMeasures = z.object({
  changedBytes: z.int().min(0),
  sentBytes: z.int().min(0),
  resumedUploads: z.int().min(0).default(0),
  pauseMs: z.number().min(0),
  durationMs: z.number().min(0),
});
export type CycleMeasures = z.infer<typeof cycleMeasures>;

/** `POST /replication/v1/cycles/{id}/failure`: the agent gives this attempt up; the relationship's health shows why. */
export const cycleFailure = z.object({ code: plainText(100), message: plainText(500) });

/** `PUT /replication/v1/relationships/{id}/keys/{kind}/{generation}`, body: the wrapped key object. */
export const keyKind = z.enum(['data', 'fingerprint']);
export const keyAnswer = z.object({ kind: keyKind, generation: z.int().min(0).max(65_535), sha256: sha256Hex, created: z.boolean() });

export const WANTED_RECORDS_MAX = 1000;

/** A record that is damaged in the store: what of which block it held, and the fingerprint of that. */
export const wantedRecord = z.object({
  repairId: uuid,
  cycle: u64,
  generation: z.int().min(1).max(65_535),
  disk: z.int().min(0).max(65_535),
  block: z.int().min(0),
  mask: z.int().min(1).max(65_535),
  fingerprint: z.string().regex(/^[0-9a-f]{32}$/),
});
export type WantedRecord = z.infer<typeof wantedRecord>;

/** `GET /replication/v1/relationships/{id}/wanted-records`: some of those that are wanted and not offered yet, by repair, disk and block. */
export const wantedRecordsAnswer = z.object({ epoch, records: z.array(wantedRecord).max(WANTED_RECORDS_MAX) });
export type WantedRecordsAnswer = z.infer<typeof wantedRecordsAnswer>;

/** `PUT /replication/v1/relationships/{id}/repairs/{repairId}/offers/{sha256}?incarnation=&counter=`, body: a segment of wanted records of one cycle. */
export const offerQuery = z.object({ incarnation: z.coerce.number().int().min(1), counter: z.coerce.number().int().min(1) });
export const offerAnswer = z.object({ created: z.boolean(), wantedRecords: z.int().min(0) });

/** `POST /replication/v1/relationships/{id}/repairs/{repairId}/refusal`: this writer does not have what is wanted, and never will. */
export const repairRefusal = z.object({ epoch, reason: z.enum(['content-changed', 'key-missing']) });
export type RepairRefusal = z.infer<typeof repairRefusal>;
