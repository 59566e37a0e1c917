import { findAgent, findStorageLocation, sendCommand } from '#libs/agents';
import { replicationPolicy, type ReplicationPolicy } from '#libs/contracts/wire';
import {
  type AgentId,
  asId,
  type BranchId,
  type ChainId,
  CodedError,
  newId,
  type RelationshipId,
  type TenantId,
  type VmId,
} from '#libs/kernel';
import { UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { insertChain } from '../tables/chains.js';
import { requireHolding } from '../tables/installation.js';
import { insertRelationship, type RelationshipRow } from '../tables/relationships.js';
import { getVirtualMachine } from '../tables/virtual-machines.js';

/** Enable-VMReplication: a relationship with a new chain, bound to the tag under which the VM's agent enrolled. The agent is told at once. */
export class EnableReplication {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly auditLog: AuditLog,
  ) {}

  execute(tenantId: TenantId, actor: Actor, vmId: VmId, policy: ReplicationPolicy = replicationPolicy.parse({})): Promise<RelationshipRow> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await requireHolding(tx);
      const vm = await getVirtualMachine(tx, vmId);
      if (vm.obstacle !== null) throw new CodedError('vm.not-replicable', 'conflict', vm.obstacle);
      const replicated = vm.definition.disks.filter(({ ordinal }) => !policy.excludedDisks.includes(ordinal));
      if (replicated.length === 0) throw new CodedError('policy.no-disk-left', 'invalid', 'at least one disk must be replicated');
      const agentId = asId<AgentId>(vm.agent_id);
      const agent = await findAgent(tx, agentId);
      const location = await findStorageLocation(tx);
      if (agent === undefined || location === undefined)
        throw new CodedError('vm.not-replicable', 'conflict', 'the agent of this VM is gone');

      const id = newId<RelationshipId>();
      const chainId = newId<ChainId>();
      await insertChain(tx, { tenantId, chainId, branchId: newId<BranchId>(), tag: agent.tag });
      const row = await insertRelationship(tx, { id, vmId, agentId, chainId, storageLocationId: location.id, policy });
      await sendCommand(tx, {
        to: { role: 'agent', id: agentId },
        kind: 'replication.reconcile',
        payload: { relationshipId: id },
        subjectId: id,
      });
      const subject = { kind: 'relationship', id };
      await this.auditLog.append(tx, {
        actor: auditActorOf(actor),
        action: 'replication.enabled',
        subject,
        details: { vm: vm.name, policy },
      });
      return row;
    });
  }
}
