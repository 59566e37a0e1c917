import type { RecoveredChain } from '#libs/chain';
import { replicationPolicy } from '#libs/contracts/wire';
import { newId } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { ADOPTED_TAG } from './adopt-chain.js';

const CODE_AGENT_UNKNOWN = 'catalogue.agent-unknown';

/**
 * Who protected the VM of an adopted chain is not in the store. A relationship with an agent that was shut out stands for it, in an error that says so: its
 * points can be opened, exported and failed over to, and nothing writes to it.
 */
export async function ensureRelationship(tx: Tx, chain: RecoveredChain): Promise<void> {
  const newest = chain.manifests.at(-1)?.manifest;
  const { count } = await tx.one<{ count: number }>(
    `select count(*)::int as count from replication_relationship where tenant_id = $1 and chain_id = $2`,
    [tx.tenantId, chain.chainId],
  );
  if (newest === undefined || count > 0) return;
  const agent = await ensureLostAgent(tx);
  const vmId = newId();
  await tx.execute(
    `insert into virtual_machine (id, tenant_id, agent_id, source_id, name, power, obstacle, definition) values ($1, $2, $3, $4, $5, 'unknown', $6, $7)`,
    [
      vmId,
      tx.tenantId,
      agent,
      chain.chainId,
      newest.vm.name,
      'its agent is not known: the catalogue was rebuilt from the store',
      JSON.stringify({ ...newest.vm, sourceId: chain.chainId, disks: newest.disks }),
    ],
  );
  await tx.execute(
    `insert into replication_relationship (id, tenant_id, vm_id, agent_id, chain_id, storage_location_id, mode, state, policy, failure_code, failure_message)
       select $2, $1, $3, $4, $5, id, 'Primary', 'Error', $6, $7, 'the catalogue was rebuilt from the store, which does not tell whose agent wrote it'
         from storage_location where tenant_id = $1 order by is_default desc, created_at limit 1`,
    [tx.tenantId, newId(), vmId, agent, chain.chainId, JSON.stringify(replicationPolicy.parse({})), CODE_AGENT_UNKNOWN],
  );
}

async function ensureLostAgent(tx: Tx): Promise<string> {
  const known = await tx.maybeOne<{ id: string }>(`select id from agent where tenant_id = $1 and tag = $2`, [tx.tenantId, ADOPTED_TAG]);
  if (known !== undefined) return known.id;
  const id = newId();
  await tx.execute(
    `insert into agent (id, tenant_id, tag, fqdn, state, state_reason, certificate_sha256, certificate_serial, certificate_not_after, issuer_sha256,
                        signing_key, unwrapping_key, version)
     values ($1, $2, $3, 'unknown.invalid', 'revoked', 'stands for agents that the store does not tell of', $4, '0', now(), $4, '', '', '0')`,
    [id, tx.tenantId, ADOPTED_TAG, '0'.repeat(64)],
  );
  return id;
}
