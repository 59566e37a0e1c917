import { z } from 'zod';
import { instant, publicationFormat, publicationPoints, publicationState, sha256Hex, uuid } from '../common/index.js';

/** Files in the clear in the tenant's place in the store. The same relationship, format and disk again is the same publication. */
export const createPublication = z.object({
  format: publicationFormat,
  /** All disks when left out. */
  diskOrdinal: z.int().min(0).max(65_534).optional(),
  points: publicationPoints.default({ kind: 'all' }),
  /** Keeps up with the points that come and go, until it is stopped. */
  follow: z.boolean().default(false),
});

export const publicationView = z.object({
  id: uuid,
  relationshipId: uuid,
  vmName: z.string(),
  format: publicationFormat,
  diskOrdinal: z.int().nullable(),
  points: publicationPoints,
  follow: z.boolean(),
  state: publicationState,
  /** Below the tenant's storage location: ends in `/`. */
  location: z.string(),
  /** The listing's name there; of those that begin with `index-` always the last. Null before the first. */
  index: z.string().nullable(),
  /** Finished files, and those of them that are there only because others stand on them. */
  fileCount: z.int(),
  intermediateCount: z.int(),
  /** Files still to be made, the one under way included; null until it is known. */
  waitingCount: z.int().nullable(),
  storedBytes: z.int(),
  /** Of the file that is being made, when its length is known. */
  doneBytes: z.int(),
  totalBytes: z.int().nullable(),
  failureCode: z.string().nullable(),
  failureMessage: z.string().nullable(),
  createdAt: instant,
});
export type PublicationView = z.infer<typeof publicationView>;

export const publishedFileView = z.object({
  id: uuid,
  diskOrdinal: z.int(),
  recoveryPointId: uuid,
  instant,
  state: z.enum(['Queued', 'InProgress', 'Completed', 'Failed']),
  /** Below the publication's location. */
  file: z.string(),
  /** The file that it stands on; null for a base. */
  parent: z.string().nullable(),
  sizeBytes: z.int().nullable(),
  sha256: sha256Hex.nullable(),
});
export type PublishedFileView = z.infer<typeof publishedFileView>;

/** `index-….json` of a publication, the last one there is: everything that somebody with nothing but an S3 client needs to know. */
export const publicationIndex = z.object({
  version: z.literal(1),
  publicationId: uuid,
  format: publicationFormat,
  files: z.array(
    z.object({
      disk: z.int(),
      file: z.string(),
      /** Lies beside it, and must be there to read it; null for a base. */
      parent: z.string().nullable(),
      pointId: uuid,
      sequence: z.int(),
      instant,
      /** Its point is gone, or no longer chosen; it stays while others stand on it. */
      isIntermediate: z.boolean(),
      diskSizeBytes: z.int(),
      sizeBytes: z.int(),
      sha256: sha256Hex,
      uniqueId: uuid.nullable(),
    }),
  ),
});
export type PublicationIndex = z.infer<typeof publicationIndex>;
