import { sendCommand } from '#libs/agents';
import type { AgentId, ChainId, RelationshipId } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { demandNewGeneration } from './chain-keys.js';

export async function tellAgent(tx: Tx, agentId: AgentId, relationshipId: RelationshipId): Promise<void> {
  const to = { role: 'agent', id: agentId } as const;
  await sendCommand(tx, { to, kind: 'replication.reconcile', payload: { relationshipId }, subjectId: relationshipId });
}

/** Somebody else has had this chain's keys: what comes is sealed with others, from its agent's next cycle on. */
export async function renewKeysOfChain(tx: Tx, chainId: ChainId): Promise<void> {
  await demandNewGeneration(tx, chainId);
  const writers = await tx.query<{ id: RelationshipId; agent_id: AgentId }>(
    `select id, agent_id from replication_relationship where tenant_id = $1 and chain_id = $2 and removed_at is null`,
    [tx.tenantId, chainId],
  );
  for (const { id, agent_id } of writers) await tellAgent(tx, agent_id, id);
}

/** The same for every chain of the tenant that has a data key. */
export async function renewKeysOfTenant(tx: Tx): Promise<void> {
  const chains = await tx.query<{ chain_id: ChainId }>(
    `select distinct chain_id from chain_key where tenant_id = $1 and kind = 'data' order by chain_id`,
    [tx.tenantId],
  );
  for (const { chain_id } of chains) await renewKeysOfChain(tx, chain_id);
}
