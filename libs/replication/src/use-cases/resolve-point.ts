import type { ManifestRef } from '#libs/chain';
import type { PointMap } from '#libs/contracts/commands';
import { CodedError, type ChainId } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { leaseView } from '../tables/postgres-chain-ledger.js';
import { toWireRef } from './agent-relationships.js';

export interface PointReader {
  readonly chainId: ChainId;
  readonly point: ManifestRef;
  /** An ancestor, where what changed since then is read. */
  readonly base?: ManifestRef | null;
  /** What reads: its id names the lease. */
  readonly id: string;
  readonly holder: 'export' | 'failover';
  /** Null while a VM runs on the view. */
  readonly ttlMs: number | null;
}

/** What a command may carry. Points are indexed long before they come to it. */
const REPLACEMENTS_MAX = 4096;
const LAYERS_MAX = 4096;

/**
 * Leases a point's view and says how to open it, in the transaction that tells a replica node to: nothing that the node is told of is deleted while the
 * lease lasts. `point.not-found`; `point.not-indexed` (unavailable) for the moment in which so much was compacted that indexes must be built first.
 */
export async function resolvePoint(tx: Tx, { chainId, point, base = null, id, holder, ttlMs }: PointReader): Promise<PointMap> {
  const view = await leaseView(tx, { tenantId: tx.tenantId, chainId, id, root: point, base, holder, ttlMs });
  if (view.replacements.length > REPLACEMENTS_MAX) {
    throw new CodedError('point.not-indexed', 'unavailable', 'the indexes of this recovery point are being built');
  }
  return {
    indexes: view.indexes.map(({ parts: _parts, ...index }) => ({ ...index, lastCycle: index.lastCycle.toString() })),
    layers: view.layers.slice(0, LAYERS_MAX).map(toWireRef),
    replacements: view.replacements.map(({ segment, by }) => ({ segment, by: [...by] })),
  };
}
