import { z } from 'zod';
import { displayName, instant, uuid } from '#libs/contracts/common';

/** A file as it was when the import was asked for: one that changed since is not read. */
const importedFile = z.strictObject({
  path: z.string().min(1),
  format: z.enum(['raw', 'vhd', 'vhdx', 'qcow2']),
  sizeBytes: z.int().min(1),
  modifiedMs: z.number(),
});
export type ImportedFile = z.infer<typeof importedFile>;

export const FILES_MAX = 64;

/** `imports/<sourceId>.json`: a VM that consists of files. */
export const importRecord = z.strictObject({
  version: z.literal(1),
  sourceId: uuid,
  name: displayName,
  trackingId: z.string().regex(/^[0-9a-f]{32}$/),
  cpuCount: z.int().min(1).max(1024),
  memoryBytes: z.int().min(2 ** 20),
  firmware: z.enum(['bios', 'uefi']),
  bus: z.enum(['virtio', 'scsi', 'sata', 'ide', 'nvme']),
  /** One for each point, ascending. */
  instants: z.array(instant).min(1).max(FILES_MAX),
  /** Of each disk the files, oldest first: one for each point, or fewer where the disk did not change any more. */
  disks: z
    .array(z.strictObject({ files: z.array(importedFile).min(1).max(FILES_MAX) }))
    .min(1)
    .max(16),
});
export type ImportRecord = z.infer<typeof importRecord>;

/** What a mark stands for: the files of a point were carried; as a point, or as the copy that comes before the first one. */
const markedPlace = z.strictObject({ at: z.int().min(0), isPoint: z.boolean() });

/** `imports/<sourceId>.progress.json`: which point each mark stands for. Lost, the current point is carried again as a whole. */
export const importProgress = z.strictObject({
  /** Where a copy begins that knows of no mark. */
  at: z.int().min(0).default(0),
  marks: z.record(z.string(), markedPlace).default({}),
});
export type ImportProgress = z.infer<typeof importProgress>;
