import type { ReplicaNodePeer } from '#libs/agents';
import type { PointMap } from '#libs/contracts/commands';
import type { ReplacementsAnswer, ReplacementsRequest } from '#libs/contracts/wire';
import { asId, CodedError, DAY_MS, type RecoveryPointId, type TenantId } from '#libs/kernel';
import { type Tx, UnitOfWork } from '#libs/platform';
import { findLease, isReadBy, type LeaseRow } from '../tables/leases.js';
import { findManifestOfCycle, manifestRefOf } from '../tables/manifests.js';
import { findPointExport, getPointExport } from '../tables/point-exports.js';
import { replacementsOfPath, resolvePoint } from './resolve-point.js';
import { findPointSource } from './role-changes.js';

/** As long as it had at first: an export that goes on is never without its point. */
const EXPORT_LEASE_MS = 7 * DAY_MS;

/** At a receiver: a replica node that misses something in the store asks once more where everything is, of what it was told to read and still has leased. */
export class ResolveReading {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  /** Renews the lease. `view.not-leased`. */
  resolve(peer: ReplicaNodePeer, tenantId: TenantId, id: string): Promise<PointMap> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const { chain_id: chainId, cycle, holder, expires_at: expiresAt } = await requireReading(tx, peer, id);
      const point = await rootOf(tx, cycle);
      const base = holder === 'export' ? await baseOf(tx, id) : null;
      const reader = holder === 'export' ? 'export' : 'failover';
      return resolvePoint(tx, { chainId, point, base, id, holder: reader, ttlMs: expiresAt === null ? null : EXPORT_LEASE_MS });
    });
  }

  /** `view.not-leased`. */
  replacements(peer: ReplicaNodePeer, tenantId: TenantId, id: string, request: ReplacementsRequest): Promise<ReplacementsAnswer> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const { chain_id: chainId, cycle } = await requireReading(tx, peer, id);
      return replacementsOfPath(tx, chainId, await rootOf(tx, cycle), request);
    });
  }
}

/** Whoever was not told to read it is told no more than that there is nothing. */
async function requireReading(tx: Tx, { identityId }: ReplicaNodePeer, id: string): Promise<LeaseRow> {
  const lease = (await isReadBy(tx, id, identityId)) ? await findLease(tx, id) : undefined;
  if (lease === undefined) throw new CodedError('view.not-leased', 'not-found', 'nothing is read under this id');
  return lease;
}

async function rootOf(tx: Tx, cycleHex: string) {
  const row = await findManifestOfCycle(tx, cycleHex);
  if (row === undefined) throw new CodedError('view.not-leased', 'not-found', 'nothing is read under this id');
  return manifestRefOf(row);
}

/** The point below a differencing file. */
async function baseOf(tx: Tx, exportId: string) {
  const base = (await findPointExport(tx, exportId))?.base_export_id ?? null;
  if (base === null) return null;
  const { recovery_point_id: pointId } = await getPointExport(tx, base);
  return (await findPointSource(tx, asId<RecoveryPointId>(pointId))).ref;
}
