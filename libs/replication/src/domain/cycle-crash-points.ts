/**
 * Where a receiver may be ended in the midst of a cycle, in the order in which it gets there: the segment is durable and not recorded; the
 * cycle is bound to its manifest; the manifest is durable; the transaction has decided and not committed; it has, and nobody was told.
 */
export const CYCLE_CRASH_POINTS = ['segment-stored', 'manifest-bound', 'manifest-stored', 'commit-decided', 'committed'] as const;
export type CycleCrashPoint = (typeof CYCLE_CRASH_POINTS)[number];
