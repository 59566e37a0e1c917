import { CodedError, type FailoverId, type TenantId } from '#libs/kernel';
import { Sagas, type Tx, UnitOfWork } from '#libs/platform';
import { settleOnReplica } from '#libs/replication';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { cancelSaga, cancelSagaId } from '../jobs/sagas.js';
import { type FailoverRow, getFailover, updateFailover } from '../tables/failovers.js';

/** What ends a failover: Complete-VMFailover and Stop-VMFailover. */
export class SettleFailover {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly sagas: Sagas,
    private readonly auditLog: AuditLog,
  ) {}

  /** The replica is the VM from now on. Its way home is reverse replication. */
  complete(tenantId: TenantId, actor: Actor, id: FailoverId): Promise<FailoverRow> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const row = await getFailover(tx, id, { lock: true });
      if (row.state === 'Completed') return row;
      if (row.type === 'Test')
        throw new CodedError('failover.is-test', 'conflict', 'a test failover is not completed; cancel it when the test is over');
      if (row.state !== 'Running')
        throw new CodedError('failover.not-running', 'conflict', `a failover that is ${row.state} cannot be completed`);
      await settleOnReplica(tx, row.relationship_id);
      await updateFailover(tx, id, { state: 'Completed' });
      await this.audit(tx, actor, 'failover.completed', id);
      return getFailover(tx, id);
    });
  }

  /** Takes a failover back, or ends a test: the replica is stopped, what it wrote is forgotten, the roles are as before. */
  cancel(tenantId: TenantId, actor: Actor, id: FailoverId): Promise<FailoverRow> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const row = await getFailover(tx, id, { lock: true });
      if (row.state === 'Cancelling' || row.state === 'Cancelled') return row;
      if (row.state === 'Completed' || row.state === 'Failed')
        throw new CodedError('failover.settled', 'conflict', `a failover that is ${row.state} cannot be cancelled`);
      // Once the VM runs a saga of its own takes it down. While it is under way the saga that brings it up unwinds; if it cannot be asked
      // to, it unwinds already, because a step failed, and will say so.
      if (row.state === 'Running') await this.sagas.start(tx, cancelSaga, { failoverId: id }, cancelSagaId(id));
      else if (!(await this.sagas.cancel(tx, id))) return row;
      await updateFailover(tx, id, { state: 'Cancelling' });
      await this.audit(tx, actor, 'failover.cancelled', id);
      return getFailover(tx, id);
    });
  }

  private async audit(tx: Tx, actor: Actor, action: string, id: FailoverId): Promise<void> {
    await this.auditLog.append(tx, { actor: auditActorOf(actor), action, subject: { kind: 'failover', id } });
  }
}
