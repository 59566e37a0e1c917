import { damagedPositions } from '#libs/chain';
import { CodedError } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { cycleOf } from './manifest-ref.js';
import { readDamages } from './postgres-scrub-ledger.js';

/** Tells of points, by the cycle in hex, whether they show anything that is damaged in the store. Cheap where nothing is. */
export async function readDamagedPoints(tx: Tx, chainId: string): Promise<(cycleHex: string) => boolean> {
  const damages = await readDamages(tx, chainId);
  if (damages.length === 0) return () => false;
  const rows = await tx.query<{ cycle: string; parent_cycle: string | null }>(
    `select cycle, parent_cycle from chain_manifest where tenant_id = $1 and chain_id = $2`,
    [tx.tenantId, chainId],
  );
  const lineage = new Map(rows.map((row) => [cycleOf(row.cycle), row.parent_cycle === null ? null : cycleOf(row.parent_cycle)]));
  const damaged = damagedPositions(damages, lineage, lineage.keys());
  return (cycleHex) => damaged.has(cycleOf(cycleHex));
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
    'a part of this recovery point is damaged in the store; take another, or say that you want this one',
  );
}
