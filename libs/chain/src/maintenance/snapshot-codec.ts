import { z } from 'zod';
import { MIB, type ChainId } from '#libs/kernel';
import { decodeDocument, encodeDocument, fields, plainRef, type DocumentKind } from '../canonical-document.js';
import { corrupt } from '../chain-errors.js';
import { BLOCKS_PER_DISK_MAX, FIRMWARE_DISK, SEGMENT_BYTES_MAX, SEGMENT_RECORDS_MAX } from '../limits.js';
import type { ListEntry } from '../manifest/list-page.js';
import { manifestRef } from '../manifest/manifest-codec.js';
import type { ManifestRef } from '../manifest/manifest.js';
import { asBuffer } from '../as-buffer.js';
import { sha256Hex } from '../sha256.js';

/** What a chain is beside its manifests: enough, together with them, to know every point again without a database. */
export interface SnapshotContent {
  /** Positions that are kept: points, heads, forks, leased views. */
  readonly kept: readonly ManifestRef[];
  /** Segments that compaction made and that stand for others. */
  readonly segments: readonly ListEntry[];
  /** Listed segments whose records are elsewhere now. */
  readonly replacements: readonly { readonly segment: string; readonly by: readonly string[] }[];
}

/** One document: what comes to the one before it, or takes the place of what it says, and what goes. */
export interface SnapshotDelta {
  readonly chainId: ChainId;
  readonly sequence: number;
  /** Drawn for this document alone: what is written again after it was deleted as a stray has another name. */
  readonly id: string;
  /** SHA-256 of the document before; null where it begins anew. */
  readonly previous: string | null;
  /** False while the next document belongs to the same snapshot: only what ends complete may be taken for a state of the chain. */
  readonly isComplete: boolean;
  readonly add: SnapshotContent;
  /** Of `kept` the cycles, of the others the names. */
  readonly remove: { readonly kept: readonly bigint[]; readonly segments: readonly string[] };
}

/** Of kept positions, segments and replacements together. */
export const SNAPSHOT_ENTRIES_MAX = 16_384;
export const SNAPSHOT_BYTES_MAX = 16 * MIB;

const block = z
  .int()
  .min(0)
  .max(BLOCKS_PER_DISK_MAX - 1);
const position = z.strictObject({ disk: z.int().min(0).max(FIRMWARE_DISK), block });

const listEntry = z.strictObject({
  sha256: fields.sha256,
  sizeBytes: z.int().min(1).max(SEGMENT_BYTES_MAX),
  footerBytes: z.int().min(1).max(SEGMENT_BYTES_MAX),
  footerSha256: fields.sha256,
  recordCount: z.int().min(1).max(SEGMENT_RECORDS_MAX),
  plainBytes: z.int().min(0),
  first: position,
  last: position,
});

const SNAPSHOT: DocumentKind<SnapshotDelta> = {
  family: 'snapshot',
  format: 'holdfast.snapshot',
  version: 1,
  bytesMax: SNAPSHOT_BYTES_MAX,
  schema: z.strictObject({
    chainId: fields.id<ChainId>(),
    sequence: z.int().min(1),
    id: fields.id(),
    previous: fields.sha256.nullable(),
    isComplete: z.boolean(),
    add: z.strictObject({
      kept: z.array(manifestRef).max(SNAPSHOT_ENTRIES_MAX),
      segments: z.array(listEntry).max(SNAPSHOT_ENTRIES_MAX),
      replacements: z
        .array(z.strictObject({ segment: fields.sha256, by: z.array(fields.sha256).max(SNAPSHOT_ENTRIES_MAX) }))
        .max(SNAPSHOT_ENTRIES_MAX),
    }),
    remove: z.strictObject({
      kept: z.array(fields.cycle).max(SNAPSHOT_ENTRIES_MAX),
      segments: z.array(fields.sha256).max(SNAPSHOT_ENTRIES_MAX),
    }),
  }),
};

export function encodeSnapshot(delta: SnapshotDelta): { bytes: Buffer; sha256: string } {
  const { add, remove } = delta;
  const bytes = encodeDocument(SNAPSHOT, {
    ...delta,
    add: { ...add, kept: add.kept.map(plainRef) },
    remove: { ...remove, kept: remove.kept.map((cycle) => cycle.toString(16).padStart(16, '0')) },
  });
  return { bytes, sha256: sha256Hex(bytes) };
}

/** `snapshot.too-large`, `snapshot.malformed`, `snapshot.version-unsupported`, `snapshot.foreign-chain`. */
export function decodeSnapshot(bytes: Uint8Array, expected: { readonly chainId: ChainId }): SnapshotDelta {
  const delta = decodeDocument(SNAPSHOT, asBuffer(bytes));
  if (delta.chainId !== expected.chainId) throw corrupt('snapshot.foreign-chain', 'the snapshot is of another chain');
  return delta;
}
