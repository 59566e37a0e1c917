import type { ChainId } from '#libs/kernel';
import type { SegmentSummary } from '../segment/segment-summary.js';

/** One segment in a manifest's list. */
export type ListEntry = Pick<SegmentSummary, 'sha256' | 'sizeBytes' | 'footerBytes' | 'recordCount' | 'plainBytes' | 'first' | 'last'>;

export interface ListPage {
  readonly chainId: ChainId;
  readonly cycle: bigint;
  /** 1 … 4096, ascending and disjoint by (disk, block). */
  readonly entries: readonly ListEntry[];
}

/** Deterministic: the same page gives the same bytes, named by their SHA-256. */
export function encodeListPage(_page: ListPage): { bytes: Buffer; sha256: string } {
  throw new Error('encodeListPage');
}

/** Needs no key. `list.malformed`, `list.version-unsupported`, `list.too-large`, `list.out-of-order`, `list.foreign-chain`. */
export function decodeListPage(_bytes: Uint8Array, _expected: { readonly chainId: ChainId }): ListPage {
  throw new Error('decodeListPage');
}

/** Packs a cycle's segments, in any order, into as few pages as they need. */
export function paginate(_chainId: ChainId, _cycle: bigint, _entries: readonly ListEntry[]): ListPage[] {
  throw new Error('paginate');
}
