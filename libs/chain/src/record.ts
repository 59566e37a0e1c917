import type { ChainKeys } from './keys/chain-keys.js';
import type { RecordHeader } from './record-header.js';

export interface OpenedRecord {
  readonly header: RecordHeader;
  /** The mask's grains in order; empty for a zero run. */
  readonly plaintext: Buffer;
}

/**
 * Opens one whole record (header, payload, tag): only a holder of the chain's keys can have made what this returns.
 * `record.tag-mismatch`, `record.malformed`, `record.version-unsupported`, `keys.generation-missing`.
 */
export function openRecord(_record: Uint8Array, _keys: ChainKeys): OpenedRecord {
  throw new Error('openRecord');
}
