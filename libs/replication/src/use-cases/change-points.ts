import type { RecoveryPointView } from '#libs/contracts/http';
import { asId, type ChainId, CodedError, type RecoveryPointId, type TenantId } from '#libs/kernel';
import { Outbox, type Tx, UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { pointsRemoved } from '../jobs/events.js';
import { getChain } from '../tables/chains.js';
import { getPoint, type PointManifestRow } from '../tables/manifests.js';
import { deletePoints, findPointRelationship, listHolds, lockPoints, serverNow, setPin } from '../tables/points.js';
import { getRelationship } from '../tables/relationships.js';
import { readDamagedPoints } from '../tables/damaged-points.js';
import { requireHolding } from '../tables/installation.js';
import { toPointView } from './point-views.js';

/** What people do to single recovery points. All of it stands in the audit log. */
export class ChangePoints {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly outbox: Outbox,
    private readonly auditLog: AuditLog,
  ) {}

  /** The point stays until it is unpinned. Pinning again replaces the note. */
  pin(tenantId: TenantId, actor: Actor, id: RecoveryPointId, note: string): Promise<RecoveryPointView> {
    return this.changePin(tenantId, actor, id, note);
  }

  unpin(tenantId: TenantId, actor: Actor, id: RecoveryPointId): Promise<RecoveryPointView> {
    return this.changePin(tenantId, actor, id, null);
  }

  /**
   * Removes one point; no data moves, and what only it needed is collected later. Refused for the newest point (`point.newest`), a pinned
   * one (`point.pinned`), one within its immutable window (`point.immutable`), and one that is in use (`point.in-use`).
   */
  remove(tenantId: TenantId, actor: Actor, id: RecoveryPointId): Promise<void> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await requireHolding(tx);
      const { id: relationshipId, chain_id: chain } = await findPointRelationship(tx, id);
      await getRelationship(tx, relationshipId, { lock: true });
      const { chainId, branchId } = await getChain(tx, asId<ChainId>(chain), { lock: true });
      await lockPoints(tx, [id]);
      const point = await getPoint(tx, chainId, id);
      await requireRemovable(tx, point, branchId);
      await deletePoints(tx, [id]);
      await this.outbox.add(tx, pointsRemoved, { tenantId, chainId }, chainId);
      await this.append(tx, actor, 'point.removed', id, { relationshipId, sequence: point.sequence, committedAt: point.committed_at });
    });
  }

  private changePin(tenantId: TenantId, actor: Actor, id: RecoveryPointId, note: string | null): Promise<RecoveryPointView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const { id: relationshipId, chain_id: chainId } = await findPointRelationship(tx, id);
      await setPin(tx, id, note);
      await this.append(tx, actor, note === null ? 'point.unpinned' : 'point.pinned', id, {
        relationshipId,
        ...(note === null ? {} : { note }),
      });
      return toPointView(await getPoint(tx, asId<ChainId>(chainId), id), relationshipId, await readDamagedPoints(tx, chainId));
    });
  }

  private append(tx: Tx, actor: Actor, action: string, id: RecoveryPointId, details: Record<string, unknown>): Promise<unknown> {
    return this.auditLog.append(tx, { actor: auditActorOf(actor), action, subject: { kind: 'recovery-point', id }, details });
  }
}

async function requireRemovable(tx: Tx, point: PointManifestRow, writtenBranch: string): Promise<void> {
  if (point.pinned_at !== null)
    throw new CodedError('point.pinned', 'conflict', 'this recovery point is pinned; unpin it first', { note: point.pin_note });
  if (point.immutable_until !== null && point.immutable_until > (await serverNow(tx))) {
    const until = point.immutable_until.toISOString();
    throw new CodedError('point.immutable', 'conflict', `nobody can remove this recovery point before ${until}`, { until });
  }
  const holds = (await listHolds(tx, point.chain_id)).get(point.id) ?? [];
  if (holds.length > 0)
    throw new CodedError('point.in-use', 'conflict', `this recovery point is in use: ${holds.join(', ')}`, { by: [...holds] });
  const newer = await tx.query(
    `select 1 from chain_manifest m
      where m.tenant_id = $1 and m.branch_id = $2 and m.sequence > $3
        and exists (select 1 from recovery_point p where p.tenant_id = m.tenant_id and p.id = m.id)
      order by m.sequence limit 1`,
    [tx.tenantId, point.branch_id, point.sequence],
  );
  if (newer.length === 0 && point.branch_id === writtenBranch)
    throw new CodedError('point.newest', 'conflict', 'the newest recovery point stays until there is a newer one');
}
