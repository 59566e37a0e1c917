import { z } from 'zod';
import { KIB, type BranchId, type ChainId } from '#libs/kernel';
import { decodeDocument, encodeDocument, fields, joinSealed, plainRef, splitSealed, type DocumentKind } from '../canonical-document.js';
import { corrupt } from '../chain-errors.js';
import type { Epoch } from '../cycle-number.js';
import { asBuffer } from '../as-buffer.js';
import { sha256Hex } from '../sha256.js';
import { manifestRef } from './manifest-codec.js';
import type { ManifestRef } from './manifest.js';

/** Durable before a failed-over VM starts: from this epoch on only `branchId` counts, and it grew out of `frozenPoint`. */
export interface Fence {
  readonly chainId: ChainId;
  readonly epoch: Epoch;
  readonly branchId: BranchId;
  readonly frozenPoint: ManifestRef | null;
  /** The branch that was written to until then, with its head: what stands behind that there in an earlier epoch was never acknowledged. */
  readonly left: { readonly branchId: BranchId; readonly head: ManifestRef | null } | null;
}

const FENCE: DocumentKind<Fence> = {
  family: 'fence',
  format: 'holdfast.fence',
  version: 1,
  bytesMax: 4 * KIB,
  schema: z.strictObject({
    chainId: fields.id<ChainId>(),
    epoch: fields.epoch,
    branchId: fields.id<BranchId>(),
    frozenPoint: manifestRef.nullable(),
    left: z.strictObject({ branchId: fields.id<BranchId>(), head: manifestRef.nullable() }).nullable(),
  }),
};

export function encodeFence(fence: Fence): { bytes: Buffer; sha256: string } {
  const left = fence.left === null ? null : { ...fence.left, head: plainRef(fence.left.head) };
  const document = encodeDocument(FENCE, { ...fence, frozenPoint: plainRef(fence.frozenPoint), left });
  const bytes = joinSealed(document, sha256Hex(document));
  decodeFence(bytes, fence);
  return { bytes, sha256: sha256Hex(bytes) };
}

/**
 * Nothing else pins a fence, and a digit of it that changed could shut acknowledged points out: it carries its own hash. `fence.too-large`, `fence.malformed`,
 * `fence.version-unsupported`, `fence.foreign-chain`, `fence.hash-mismatch`.
 */
export function decodeFence(bytes: Uint8Array, expected: { readonly chainId: ChainId }): Fence {
  const { document, seal } = splitSealed(FENCE, asBuffer(bytes));
  const fence = decodeDocument(FENCE, document);
  if (fence.chainId !== expected.chainId) throw corrupt('fence.foreign-chain', 'the fence is of another chain');
  if (seal !== sha256Hex(document)) throw corrupt('fence.hash-mismatch', 'a fence is not what its own hash says');
  return fence;
}
