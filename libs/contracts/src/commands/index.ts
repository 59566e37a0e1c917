/**
 * contracts/commands: what agents and replica nodes are told, and what they tell. Delivery is at least once and ordered
 * for each VM; a handler must find nothing left to do on a second run, and must refuse an epoch older than one it has seen.
 */
import { z } from 'zod';
import { epoch, exportFormat, failoverType, instant, plainText, sha256Hex, u64, uuid } from '../common/index.js';
import { manifestRef } from '../wire/replication.js';

/** A key of a chain, wrapped for its reader: RSA-OAEP-SHA-256, base64. */
export const grantedKey = z.object({
  kind: z.enum(['data', 'fingerprint']),
  generation: z.int().min(0).max(65_535),
  wrapped: z.base64().max(2048),
});
export type GrantedKey = z.infer<typeof grantedKey>;

const blockPosition = z.object({
  disk: z.int().min(0).max(65_535),
  block: z
    .int()
    .min(0)
    .max(2 ** 30 - 1),
});
const byteCount = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const pathPosition = z
  .int()
  .min(0)
  .max(2 ** 32 - 1);

/** An index of the chain, as the catalogue names it. */
export const indexRef = z.object({
  sha256: sha256Hex,
  sizeBytes: byteCount,
  first: pathPosition,
  last: pathPosition,
  lastCycle: u64,
  branchId: uuid,
  bytes: byteCount,
});

/** What may come to stand for one damaged segment. */
export const REPAIRED_SEGMENTS_MAX = 64;

/** A segment with what pins its footer. */
export const segmentEntry = z.object({
  sha256: sha256Hex,
  footerSha256: sha256Hex,
  sizeBytes: z
    .int()
    .min(1)
    .max(16 * 1024 * 1024),
  footerBytes: z
    .int()
    .min(1)
    .max(16 * 1024 * 1024),
  recordCount: z.int().min(1).max(65_536),
  plainBytes: byteCount,
  first: blockPosition,
  last: blockPosition,
});

/** Where the records of a segment that compaction dissolved lie now. */
export const replacement = z.object({ segment: sha256Hex, by: z.array(segmentEntry).max(65_536) });

/** What the catalogue knows of a point's path: it opens at once by these, and is read as right or refused whatever they say. */
export const pointMap = z.object({
  indexes: z.array(indexRef).max(1024),
  /** Manifests of layers that no index covers. */
  layers: z.array(manifestRef).max(4096),
  /** Of segments that those layers list and compaction dissolved. */
  replacements: z.array(replacement).max(4096),
  /** There are more of them than fit in here: what is missed is asked for. */
  isCut: z.boolean().optional(),
});
export type PointMap = z.infer<typeof pointMap>;

/** A chain, and the keys with which this reader opens what is in it. */
export const chainSource = z.object({
  tenantId: uuid,
  chainId: uuid,
  keys: z.array(grantedKey).min(1).max(1024),
});
export type ChainSource = z.infer<typeof chainSource>;

/** All that a reader needs to open one point of a chain from the store. */
export const pointSource = chainSource.extend({
  point: manifestRef,
  map: pointMap.optional(),
});
export type PointSource = z.infer<typeof pointSource>;

export const commandPayloads = {
  /** Agent: fetch this relationship again and act on what changed (start, policy, suspension, end, new epoch). */
  'replication.reconcile': z.object({ relationshipId: uuid }),
  /** Agent: begin a cycle now instead of at the next interval. */
  'replication.run-cycle': z.object({ relationshipId: uuid }),
  /** Agent: look for VMs and disks again now. */
  'inventory.refresh': z.object({}),
  /** Replica node: open the point, serve its disks, boot the VM that its manifest defines, watch that it comes up. */
  'replica.start': z.object({
    failoverId: uuid,
    type: failoverType,
    source: pointSource,
    network: z.enum(['isolated']),
    /** A guest that is not proven up by then, counted from its machine's start, fails a test; in a real failover it is left running. */
    bootDeadlineMs: z.int().min(1000),
  }),
  /** Replica node: stop the VM and forget its overlays. Fine when it does not run here. */
  'replica.stop': z.object({ failoverId: uuid }),
  /** Replica node: write a disk of a point as a file into the store, in the clear, for the tenant to fetch. */
  'point.export': z.object({
    exportId: uuid,
    source: pointSource,
    diskOrdinal: z.int().min(0).max(65_534),
    format: exportFormat,
    /**
     * With a base: a differencing VHD or VHDX of what changed since that point, whose file has this name and identity: a VHD its unique id and
     * timestamp, a VHDX its data write id alone.
     */
    base: z
      .object({ point: manifestRef, fileName: z.string().max(255), uniqueId: uuid, timestampSeconds: z.int().min(0).nullable() })
      .nullable(),
    objectKey: z.string().max(512),
  }),
  /** Replica node: open every record of these segments and tell which are not what the original's footer says of them. */
  'chain.verify': z.object({
    repairId: uuid,
    round: z.int().min(1),
    source: chainSource,
    original: segmentEntry,
    segments: z.array(segmentEntry).min(1).max(REPAIRED_SEGMENTS_MAX),
  }),
} as const;

export type CommandKind = keyof typeof commandPayloads;
export type CommandPayload<K extends CommandKind> = z.infer<(typeof commandPayloads)[K]>;
export const commandKind = z.enum(Object.keys(commandPayloads) as [CommandKind, ...CommandKind[]]);

export const command = z.object({
  id: uuid,
  /** Position in this recipient's queue; ask `after` the last one that was handled. */
  seq: z.int().min(1),
  kind: commandKind,
  /** Commands with the same subject (a relationship's id) are run in order; others may run side by side. */
  subject: uuid.nullable(),
  epoch: epoch.nullable(),
  payload: z.unknown(),
  createdAt: instant,
});
export type Command = z.infer<typeof command>;

/** `GET /commands/v1?after=<seq>&waitMs=<0..30000>` */
export const commandsQuery = z.object({
  after: z.coerce.number().int().min(0).default(0),
  waitMs: z.coerce.number().int().min(0).max(30_000).default(25_000),
});
export const commandsAnswer = z.object({ commands: z.array(command) });

/** `POST /commands/v1/{id}/result`: repeated results of one command are answered alike; the first one counts. */
export const commandResult = z.object({
  outcome: z.enum(['succeeded', 'failed']),
  code: plainText(100).nullable(),
  message: plainText(1000).nullable(),
  data: z
    .record(z.string(), z.unknown())
    // As JSON writes them: a NUL, or half of a character.
    .refine((data) => !/(?<!\\)(\\\\)*\\u(0000|d[89a-f])/.test(JSON.stringify(data)), 'has text that no database can keep')
    .default({}),
});
export type CommandResult = z.infer<typeof commandResult>;

/** What a replica node says of a failed-over VM, in the order in which it happens. */
export const replicaPhase = z.enum(['opening', 'booting', 'up', 'stopped', 'failed']);

/** What the serial console showed of a guest that is up: a line that says so, or that it goes on talking. */
export const bootProofKind = z.enum(['console-pattern', 'console-activity']);
export type BootProofKind = z.infer<typeof bootProofKind>;

export const replicaReport = z.object({
  failoverId: uuid,
  phase: replicaPhase,
  at: instant,
  /** The last lines of the VM console. */
  console: plainText(8192).default(''),
  /** From the start of QEMU to the guest's own sign of life. */
  bootMs: z.number().min(0).nullable().default(null),
  /** Null while `up`: the machine was left running at the boot deadline without a sign of life; `code` says what is known. It may still come. */
  proof: bootProofKind.nullable().default(null),
  code: plainText(100).nullable().default(null),
  message: plainText(1000).nullable().default(null),
});
export type ReplicaReport = z.infer<typeof replicaReport>;

/** `POST /reports/v1`: heartbeat and news of a replica node (agents send the heartbeat part alone). */
export const report = z.object({
  version: plainText(64),
  capacity: z
    .object({
      cpus: z.int().min(1),
      memoryMiB: z.int().min(1),
      memoryFreeMiB: z.int().min(0),
      accelerator: z.enum(['kvm', 'tcg']),
      replicas: z.array(uuid).max(1000),
    })
    .nullable(),
  replicas: z.array(replicaReport).max(100).default([]),
  /** Files that are being made: of a file's whole way, how much of it is done. */
  exports: z
    .array(z.object({ tenantId: uuid, exportId: uuid, doneBytes: byteCount, totalBytes: byteCount }))
    .max(10)
    .default([]),
});
export type Report = z.infer<typeof report>;
export const reportAnswer = z.object({ serverTime: instant });

/** `PUT /reports/v1/failovers/{id}/screenshot`: image/png, ≤ 4 MiB: the VM console as evidence. */
export const SCREENSHOT_BYTES_MAX = 4 * 1024 * 1024;

export const exportResult = z.object({
  sizeBytes: z.int().min(0),
  sha256: sha256Hex,
  cycle: u64.optional(),
  uniqueId: uuid.nullable(),
  timestampSeconds: z.int().nullable(),
});

/** Of a `chain.verify`: of each segment in turn a bit for each record, set where it is wrong; the first record is the lowest bit of the first byte. */
export const verifyResult = z.object({ wrong: z.array(z.base64().max(12_000)).max(REPAIRED_SEGMENTS_MAX) });
