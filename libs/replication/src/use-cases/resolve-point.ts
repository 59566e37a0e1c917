import { type ManifestRef, pathOf, type ResolvedView } from '#libs/chain';
import type { PointMap } from '#libs/contracts/commands';
import type { ReplacementsAnswer, ReplacementsRequest } from '#libs/contracts/wire';
import type { ChainId } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { leaseView } from '../tables/postgres-chain-ledger.js';
import { pageOfReplacements, readKeptLineage } from '../tables/upkeep-reading.js';
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

/** What a map may carry; the layers that do not fit are found one after the other, and what was replaced in them is asked for. */
const REPLACEMENTS_MAX = 4096;
const ENTRIES_MAX = 16_384;
const LAYERS_MAX = 4096;

/**
 * Leases a point's view and says how to open it, in the transaction that tells a replica node to: nothing that the node is told of is deleted while the
 * lease lasts. `point.not-found`.
 */
export async function resolvePoint(tx: Tx, { chainId, point, base = null, id, holder, ttlMs }: PointReader): Promise<PointMap> {
  return toPointMap(await leaseView(tx, { tenantId: tx.tenantId, chainId, id, root: point, base, holder, ttlMs }));
}

export function toPointMap({ indexes, layers, replacements }: ResolvedView): PointMap {
  let entryCount = 0;
  const fitting = replacements.slice(0, REPLACEMENTS_MAX).filter(({ by }) => (entryCount += by.length) <= ENTRIES_MAX);
  return {
    indexes: indexes.map(({ parts: _parts, ...index }) => ({ ...index, lastCycle: index.lastCycle.toString() })),
    layers: layers.slice(0, LAYERS_MAX).map(toWireRef),
    replacements: fitting.map(({ segment, by }) => ({ segment, by: [...by] })),
    ...(fitting.length === replacements.length ? {} : { isCut: true }),
  };
}

/** A page of what was replaced in the layers at some positions of the path from `root` down. */
export async function replacementsOfPath(
  tx: Tx,
  chainId: ChainId,
  root: ManifestRef,
  { ranges, after }: ReplacementsRequest,
): Promise<ReplacementsAnswer> {
  const path = pathOf(await readKeptLineage(tx, chainId), root);
  const wanted = path.filter(({ sequence }) => ranges.some(({ first, last }) => first <= sequence && sequence <= last));
  const { replacements, more } = await pageOfReplacements(
    tx,
    chainId,
    wanted.map(({ cycle }) => cycle),
    after,
  );
  return { replacements: replacements.map(({ segment, by }) => ({ segment, by: [...by] })), more };
}
