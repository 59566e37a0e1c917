import { damagedPositions } from '#libs/chain';
import { CodedError } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { unopenableSince } from './key-faults.js';
import { cycleOf } from './manifest-ref.js';
import { readDamages } from './postgres-scrub-ledger.js';

/**
 * Tells of points, by the cycle in hex, whether they show anything that is damaged in the store, or may need a key that does not open. Cheap where
 * nothing is.
 */
export async function readDamagedPoints(tx: Tx, chainId: string): Promise<(cycleHex: string) => boolean> {
  const damages = await readDamages(tx, chainId);
  const { since } = await tx.one<{ since: Date | null }>(`select ${unopenableSince('$1', '$2')} as since`, [tx.tenantId, chainId]);
  if (damages.length === 0 && since === null) return () => false;
  const rows = await tx.query<{ cycle: string; parent_cycle: string | null; committed_at: Date }>(
    `select cycle, parent_cycle, committed_at from chain_manifest where tenant_id = $1 and chain_id = $2`,
    [tx.tenantId, chainId],
  );
  const unopenable = new Set(rows.filter(({ committed_at }) => since !== null && committed_at >= since).map(({ cycle }) => cycleOf(cycle)));
  const lineage = new Map(rows.map((row) => [cycleOf(row.cycle), row.parent_cycle === null ? null : cycleOf(row.parent_cycle)]));
  const damaged = damagedPositions(damages, lineage, lineage.keys());
  return (cycleHex) => damaged.has(cycleOf(cycleHex)) || unopenable.has(cycleOf(cycleHex));
}

/** `point.damaged`: nobody is to stand on it unless they were told. */
export async function requireSound(tx: Tx, chainId: string, cycleHex: string): Promise<void> {
  const isDamaged = await readDamagedPoints(tx, chainId);
  if (isDamaged(cycleHex)) throw pointDamaged();
}

export function pointDamaged(): CodedError {
  return new CodedError(
    'point.damaged',
    'conflict',
    'a part of this recovery point is damaged in the store, or a key of it does not open; take another, or say that you want this one',
  );
}
