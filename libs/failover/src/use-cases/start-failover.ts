import type { FailoverType } from '#libs/contracts/common';
import { CodedError, type FailoverId, newId, type RecoveryPointId, type RelationshipId, type TenantId } from '#libs/kernel';
import { Sagas, UnitOfWork } from '#libs/platform';
import { lockRoles, moveToReplica, readRoles } from '#libs/replication';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { failoverSaga } from '../jobs/sagas.js';
import { type FailoverRow, insertFailover, requireNoneStands } from '../tables/failovers.js';

export interface FailoverWish {
  readonly relationshipId: RelationshipId;
  readonly type: FailoverType;
  /** Undefined for the newest sound one. */
  readonly recoveryPointId: RecoveryPointId | undefined;
  readonly allowDamaged?: boolean;
}

/** Start-VMFailover. One transaction decides: of two requests one wins, and the old primary is shut out from its commit on. */
export class StartFailover {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly sagas: Sagas,
    private readonly auditLog: AuditLog,
  ) {}

  execute(
    tenantId: TenantId,
    actor: Actor,
    { relationshipId, type, recoveryPointId, allowDamaged = false }: FailoverWish,
  ): Promise<FailoverRow> {
    if (type === 'Planned')
      throw new CodedError(
        'failover.planned-unavailable',
        'conflict',
        'planned failover is not available yet; run an unplanned or a test failover',
      );
    return this.unitOfWork.run(tenantId, async (tx) => {
      const isTest = type === 'Test';
      const choice = { id: recoveryPointId, allowDamaged };
      // Of two requests at once the second one finds the first one's failover.
      await lockRoles(tx, relationshipId);
      await requireNoneStands(tx, relationshipId, type);
      const roles = isTest ? await readRoles(tx, relationshipId, choice) : await moveToReplica(tx, relationshipId, choice);
      const row = await insertFailover(tx, {
        id: newId<FailoverId>(),
        relationshipId,
        type,
        recoveryPointId: roles.point.id,
        epoch: roles.chain.epoch,
        branchId: isTest ? null : roles.chain.branchId,
        previousBranchId: roles.previousBranchId,
      });
      await this.sagas.start(tx, failoverSaga, { failoverId: row.id }, row.id);
      await this.auditLog.append(tx, {
        actor: auditActorOf(actor),
        action: 'failover.started',
        subject: { kind: 'failover', id: row.id },
        details: { type, relationshipId, recoveryPointId: row.recovery_point_id },
      });
      return row;
    });
  }
}
