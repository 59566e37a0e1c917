import type { IndexEntry, SnapshotDocument } from './chain-ledger.js';

/** Names below a chain's prefix, as the ledger speaks of objects. */
export const nameOfSegment = (sha256: string): string => `s/${sha256}`;

export const nameOfSnapshot = ({ sequence, sha256 }: Pick<SnapshotDocument, 'sequence' | 'sha256'>): string =>
  `v/${String(sequence).padStart(10, '0')}-${sha256}`;

/** Its root, then its parts. */
export const namesOfIndex = ({ sha256, parts }: Pick<IndexEntry, 'sha256' | 'parts'>): string[] =>
  [sha256, ...parts].map((hash) => `x/${hash}`);
