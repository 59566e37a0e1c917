import { sendCommand } from '#libs/agents';
import type { CommandKind } from '#libs/contracts/commands';
import type { ReplicationPolicy } from '#libs/contracts/wire';
import { type AgentId, asId, type ChainId, CodedError, type RelationshipId, type TenantId } from '#libs/kernel';
import { type Tx, UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { acceptsCycles, type ReplicationEvent } from '../domain/replication-state.js';
import { getChain } from '../tables/chains.js';
import { voidOpenCycles } from '../tables/cycles.js';
import { extendImmutability, forgetApplied } from '../tables/points.js';
import { requireHolding } from '../tables/installation.js';
import { applyEvent, getRelationship, type RelationshipRow } from '../tables/relationships.js';

/** What people do to a relationship that stands. Each change is told to the agent, which acts on the difference. */
export class ChangeReplication {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly auditLog: AuditLog,
  ) {}

  changePolicy(tenantId: TenantId, actor: Actor, id: RelationshipId, policy: ReplicationPolicy): Promise<RelationshipRow> {
    return this.change(tenantId, actor, id, 'replication.policy-changed', async (tx, row) => {
      await extendImmutability(tx, row.chain_id, policy.retention.immutableHours);
      await forgetApplied(tx, row.chain_id);
      return applyEvent(tx, row, null, { policy });
    });
  }

  /** Suspend-VMReplication: the open cycle ends here; change tracking goes on at the primary. */
  suspend(tenantId: TenantId, actor: Actor, id: RelationshipId): Promise<RelationshipRow> {
    return this.change(tenantId, actor, id, 'replication.suspended', async (tx, row) => {
      await this.endOpenCycle(tx, row);
      return applyEvent(tx, row, 'suspended');
    });
  }

  /** Resume-VMReplication. */
  resume(tenantId: TenantId, actor: Actor, id: RelationshipId): Promise<RelationshipRow> {
    return this.change(tenantId, actor, id, 'replication.resumed', async (tx, row) => {
      const points = await tx.query(`select 1 from recovery_point where tenant_id = $1 and chain_id = $2 limit 1`, [
        tx.tenantId,
        row.chain_id,
      ]);
      const isInitial = points.length === 0 && row.state !== 'ResynchronizeSuspended';
      const event: ReplicationEvent = isInitial ? 'resumedInitial' : 'resumed';
      return applyEvent(tx, row, event, { failure: null });
    });
  }

  /** Remove-VMReplication. The recovery points stay in the store until they are deleted on their own. */
  remove(tenantId: TenantId, actor: Actor, id: RelationshipId): Promise<RelationshipRow> {
    return this.change(tenantId, actor, id, 'replication.removed', async (tx, row) => {
      await this.endOpenCycle(tx, row);
      return applyEvent(tx, row, 'removed');
    });
  }

  /** Asks the agent for a cycle now. */
  replicateNow(tenantId: TenantId, actor: Actor, id: RelationshipId): Promise<RelationshipRow> {
    return this.change(
      tenantId,
      actor,
      id,
      'replication.cycle-requested',
      async (_tx, row) => {
        if (row.mode !== 'Primary' || !acceptsCycles(row.state))
          throw new CodedError('replication.not-running', 'conflict', `no cycle can run while replication is ${row.state}`, {
            state: row.state,
          });
        return row;
      },
      'replication.run-cycle',
    );
  }

  private async endOpenCycle(tx: Tx, row: RelationshipRow): Promise<void> {
    const chain = await getChain(tx, asId<ChainId>(row.chain_id), { lock: true });
    await voidOpenCycles(tx, chain.chainId, null);
  }

  private change(
    tenantId: TenantId,
    actor: Actor,
    id: RelationshipId,
    action: string,
    work: (tx: Tx, row: RelationshipRow) => Promise<RelationshipRow>,
    command: Extract<CommandKind, `replication.${string}`> = 'replication.reconcile',
  ): Promise<RelationshipRow> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await requireHolding(tx);
      const row = await work(tx, await getRelationship(tx, id, { lock: true }));
      const to = { role: 'agent', id: asId<AgentId>(row.agent_id) } as const;
      await sendCommand(tx, { to, kind: command, payload: { relationshipId: id }, subjectId: id });
      await this.auditLog.append(tx, { actor: auditActorOf(actor), action, subject: { kind: 'relationship', id } });
      return row;
    });
  }
}
