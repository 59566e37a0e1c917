import { AgentRevokedHook, readKeyPolicy, writeKeyPolicy } from '#libs/agents';
import { type AgentId, asId, type ChainId, type RelationshipId, type TenantId } from '#libs/kernel';
import { type Tx, UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { demandNewGeneration } from '../tables/chain-keys.js';
import { tellAgent } from '../tables/key-renewal.js';
import { getRelationship } from '../tables/relationships.js';

/** Begins new generations of data keys: the chain says from which generation on it is sealed, and its agent makes it before its next cycle. */
export class RotateDataKey {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly audit: AuditLog,
  ) {}

  /** Throws `relationship.not-found`. */
  execute(tenantId: TenantId, actor: Actor, id: RelationshipId): Promise<{ readonly generation: number }> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const relationship = await getRelationship(tx, id, { lock: false });
      const generation = await demandNewGeneration(tx, asId<ChainId>(relationship.chain_id));
      await tellAgent(tx, asId<AgentId>(relationship.agent_id), id);
      await this.audit.append(tx, {
        actor: auditActorOf(actor),
        action: 'data-key.rotation-asked',
        subject: { kind: 'relationship', id },
        details: { generation },
      });
      return { generation };
    });
  }

  policy(tenantId: TenantId): Promise<{ readonly dataKeyDays: number | null }> {
    return this.unitOfWork.run(tenantId, readKeyPolicy);
  }

  setPolicy(tenantId: TenantId, actor: Actor, policy: { readonly dataKeyDays: number | null }): Promise<void> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await writeKeyPolicy(tx, policy);
      await this.audit.append(tx, { actor: auditActorOf(actor), action: 'key-policy.changed', details: policy });
    });
  }
}

/** Whatever a revoked agent has the keys of is sealed with others from then on. */
export class RenewKeysOfRevokedAgent extends AgentRevokedHook {
  async agentRevoked(tx: Tx, agentId: AgentId): Promise<void> {
    const chains = await tx.query<{ chain_id: ChainId }>(
      `select distinct chain_id from chain_key where tenant_id = $1 and writer_id = $2 and kind = 'data'`,
      [tx.tenantId, agentId],
    );
    for (const { chain_id } of chains) await demandNewGeneration(tx, chain_id);
  }
}
