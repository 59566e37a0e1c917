import { z } from 'zod';
import { instant, plainText, uuid } from '../common/index.js';

/** What a VM's chain is made of, as the catalogue knows it. */
export const chainStatView = z.object({
  relationshipId: uuid,
  vmName: z.string(),
  chainId: uuid,
  pointCount: z.int(),
  pinnedCount: z.int(),
  oldestPointAt: instant.nullable(),
  newestPointAt: instant.nullable(),
  manifestCount: z.int(),
  branchCount: z.int(),
  segmentCount: z.int(),
  /** Of the segments that stand; those that are doomed and not yet deleted are apart. */
  storedBytes: z.int(),
  /** Records that a kept position still shows, and all else in the segments, footers included; 0 dead while not all is counted. */
  liveBytes: z.int(),
  deadBytes: z.int(),
  /** Points whose layers upkeep has not counted yet: while there are any, the two above say less than there is. */
  uncountedCount: z.int(),
  doomedCount: z.int(),
  doomedBytes: z.int(),
  replacedCount: z.int(),
  indexCount: z.int(),
  indexBytes: z.int(),
  ingestedBytes: z.int(),
  /** All that was ever written for a byte that a writer sent; null before the first. */
  amplification: z.number().nullable(),
  /** What the standing segments hold before compression, for each byte of them. */
  compression: z.number().nullable(),
  /** The disks of all points, as if each were kept whole, for each byte stored. */
  dedupRatio: z.number().nullable(),
  leases: z.array(z.object({ holder: z.string(), expiresAt: instant.nullable() })),
  maintainedAt: instant.nullable(),
  collectedAt: instant.nullable(),
});
export type ChainStatView = z.infer<typeof chainStatView>;

export const createChainCheck = z.object({
  /** Reads every byte, beside all that says where the bytes are. */
  bytes: z.boolean().default(false),
});

export const chainDamage = z.object({
  kind: z.enum(['manifest', 'list', 'segment', 'index']),
  /** The object's name below the chain's own prefix; with a slash before it where it is one of the whole store. */
  object: z.string(),
  code: plainText(100),
  message: plainText(500),
  /** Recovery points that show something of it, or cannot be opened for it; the first thousand. */
  pointIds: z.array(uuid).max(1000),
});
export type ChainDamage = z.infer<typeof chainDamage>;

export const chainCheckView = z.object({
  id: uuid,
  relationshipId: uuid,
  vmName: z.string(),
  bytes: z.boolean(),
  state: z.enum(['Queued', 'InProgress', 'Completed', 'Failed']),
  checkedObjects: z.int(),
  checkedBytes: z.int(),
  totalObjects: z.int().nullable(),
  totalBytes: z.int().nullable(),
  /** What is broken, as far as it was looked at; complete when the check is. At most a thousand objects. */
  damage: z.array(chainDamage),
  failureCode: z.string().nullable(),
  failureMessage: z.string().nullable(),
  createdAt: instant,
  endedAt: instant.nullable(),
});
export type ChainCheckView = z.infer<typeof chainCheckView>;

export const repairState = z.enum([
  /** Waits for a replica node that opens it. */
  'Queued',
  /** The tenant holds the keys and is asked for them. */
  'WaitingForKeys',
  'Examining',
  'Examined',
  /** The records that are damaged are wanted of the agent. */
  'WaitingForAgent',
  'Offered',
  'Verifying',
  'Verified',
  'Completed',
  'Failed',
]);
export type RepairState = z.infer<typeof repairState>;

export const chainRepairItem = z.object({
  /** The object's name below the chain's own prefix; with a slash before it where it is one of the whole store. */
  object: z.string(),
  kind: z.enum(['segment', 'manifest', 'list', 'index', 'snapshot', 'key', 'fence', 'relationship', 'presence', 'tenant-key']),
  /** Null once it is sound again, or nothing stands on it any more. */
  damage: z.object({ code: plainText(100), message: plainText(500), foundAt: instant }).nullable(),
  /** Recovery points in quarantine for it; the first thousand. */
  pointIds: z.array(uuid).max(1000),
  /** What may mend it, the best first: what the catalogue's rows say, a copy of the chain elsewhere, what the agent's disk still holds. Empty: nothing does. */
  means: z.array(z.enum(['catalogue', 'copy', 'agent'])),
  repair: z
    .object({
      id: uuid,
      state: repairState,
      /** Of the segment's records, those that are damaged; those of them that a point shows, and those that the agent has offered. */
      damagedRecords: z.int(),
      wantedRecords: z.int(),
      offeredRecords: z.int(),
      failureCode: z.string().nullable(),
      failureMessage: z.string().nullable(),
      createdAt: instant,
      endedAt: instant.nullable(),
    })
    .nullable(),
});
export type ChainRepairItem = z.infer<typeof chainRepairItem>;

/** What of a chain is damaged, and how far its repair is. */
export const chainRepairView = z.object({ relationshipId: uuid, vmName: z.string(), items: z.array(chainRepairItem) });
export type ChainRepairView = z.infer<typeof chainRepairView>;

/** How many parts a disk is divided into for a map of what changed where. */
export const DIFF_MAP_PARTS = 64;

export const pointDiffView = z.object({
  from: z.object({ id: uuid, sequence: z.int(), instant }),
  to: z.object({ id: uuid, sequence: z.int(), instant }),
  disks: z.array(
    z.object({
      ordinal: z.int(),
      name: z.string(),
      sizeBytes: z.int(),
      /** Null where the older point has no such disk. */
      sizeBeforeBytes: z.int().nullable(),
      extentCount: z.int(),
      /** Written, in steps of 4 KiB; and of the disk what reads as zero since. */
      writtenBytes: z.int(),
      zeroedBytes: z.int(),
      /** Of each 64th of the disk, how much of it changed, from 0 to 1. */
      map: z.array(z.number()).max(DIFF_MAP_PARTS),
    }),
  ),
});
export type PointDiffView = z.infer<typeof pointDiffView>;
