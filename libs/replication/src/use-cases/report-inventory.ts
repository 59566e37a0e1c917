import { type AgentPeer, authorizePrimary } from '#libs/agents';
import type { InventoryReport } from '#libs/contracts/wire';
import { UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { takeUpRebuilt } from '../tables/adopt-relationship.js';
import { markUnseen, upsertVirtualMachine } from '../tables/virtual-machines.js';

/** Takes the inventory of an agent that an authorization entry names, whole; what it no longer lists is `unknown`, not gone. */
export class ReportInventory {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly audit: AuditLog,
  ) {}

  execute(peer: AgentPeer, report: InventoryReport): Promise<void> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      await authorizePrimary(tx, peer, peer.tag);
      for (const vm of report.vms) await upsertVirtualMachine(tx, peer.identityId, vm);
      await markUnseen(
        tx,
        peer.identityId,
        report.vms.map(({ definition }) => definition.sourceId),
      );
      // A VM that moved here within its tag takes its relationship along.
      await tx.execute(
        `update replication_relationship r set agent_id = v.agent_id, revision = r.revision + 1
           from virtual_machine v
          where r.tenant_id = $1 and v.tenant_id = $1 and v.id = r.vm_id and v.agent_id = $2 and r.agent_id <> $2 and r.removed_at is null`,
        [tx.tenantId, peer.identityId],
      );
      for (const { id } of await takeUpRebuilt(tx, peer.identityId))
        await this.audit.append(tx, {
          actor: { kind: 'agent', id: peer.identityId, name: peer.dnsNames[0] ?? peer.identityId },
          action: 'replication.taken-up',
          subject: { kind: 'relationship', id },
          details: { tag: peer.tag },
        });
    });
  }
}
