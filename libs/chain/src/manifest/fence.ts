import type { BranchId, ChainId } from '#libs/kernel';
import type { Epoch } from '../cycle-number.js';
import type { ManifestRef } from './manifest.js';

/** Durable before a failed-over VM starts: from this epoch on only `branchId` counts, and it grew out of `frozenPoint`. */
export interface Fence {
  readonly chainId: ChainId;
  readonly epoch: Epoch;
  readonly branchId: BranchId;
  readonly frozenPoint: ManifestRef | null;
}

export function encodeFence(_fence: Fence): { bytes: Buffer; sha256: string } {
  throw new Error('encodeFence');
}

/** `fence.malformed`, `fence.version-unsupported`, `fence.foreign-chain`. */
export function decodeFence(_bytes: Uint8Array, _expected: { readonly chainId: ChainId }): Fence {
  throw new Error('decodeFence');
}
