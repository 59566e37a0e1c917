import { createHash } from 'node:crypto';
import { compareEpochs, type Manifest, type RecoveredChain } from '#libs/chain';
import { replicationPolicy } from '#libs/contracts/wire';
import { type AgentId, newId } from '#libs/kernel';
import type { Tx } from '#libs/platform';
import { ADOPTED_TAG, tellOfLostFailover } from './adopt-chain.js';
import { applyEvent, listAgentRelationships, type RelationshipRow } from './relationships.js';

export const CODE_AGENT_UNKNOWN = 'catalogue.agent-unknown';

/**
 * Who protects the VM of an adopted chain is not in the store; what the VM is, and the tag that its replica is bound to, are. A relationship with an agent
 * that was shut out stands for it, in an error that says so: its points can be opened, exported and failed over to, and nothing writes to it, until an
 * agent of the same tenant and tag reports the VM.
 */
export async function ensureRelationship(tx: Tx, chain: RecoveredChain): Promise<void> {
  const newest = chain.manifests.at(-1)?.manifest;
  const { count } = await tx.one<{ count: number }>(
    `select count(*)::int as count from replication_relationship where tenant_id = $1 and chain_id = $2`,
    [tx.tenantId, chain.chainId],
  );
  if (newest === undefined || count > 0) return;
  const vm = await vmOf(tx, chain, newest);
  await tx.execute(
    `insert into replication_relationship (id, tenant_id, vm_id, agent_id, chain_id, storage_location_id, mode, state, policy, failure_code, failure_message)
       select $2, $1, $3, $4, $5, id, 'Primary', 'Error', $6, $7, 'the catalogue was rebuilt from the store: no agent has reported this VM since'
         from storage_location where tenant_id = $1 order by is_default desc, created_at limit 1`,
    [
      tx.tenantId,
      chain.relationship?.relationshipId ?? newId(),
      vm.id,
      vm.agentId,
      chain.chainId,
      JSON.stringify(replicationPolicy.parse({})),
      CODE_AGENT_UNKNOWN,
    ],
  );
  if (endsInFence(chain)) await tellOfLostFailover(tx, chain.chainId);
}

/** The role was last given by a fence, and nobody is known to have written since: its VM may be running at the provider. */
function endsInFence({ epoch, manifests }: RecoveredChain): boolean {
  return manifests.every(({ manifest }) => compareEpochs(manifest.epoch, epoch) < 0);
}

interface Vm {
  readonly id: string;
  readonly agentId: string;
}

/** Of two chains of one VM the one that was written last is the VM's: the other is of a protection that had ended. */
async function vmOf(tx: Tx, chain: RecoveredChain, newest: Manifest): Promise<Vm> {
  const { relationship } = chain;
  if (relationship === null) return insertVm(tx, chain, newest, { sourceId: chain.chainId, tag: ADOPTED_TAG });
  const { sourceId, tag } = relationship;
  const known = await tx.maybeOne<{
    id: string;
    agent_id: string;
    tag: string;
    chain_id: string | null;
    code: string | null;
    last: string | null;
  }>(
    `select v.id, v.agent_id, a.tag, r.chain_id, r.failure_code as code,
            (select max(cycle) from chain_manifest m where m.tenant_id = v.tenant_id and m.chain_id = r.chain_id) as last
       from virtual_machine v join agent a on a.tenant_id = v.tenant_id and a.id = v.agent_id
       left join replication_relationship r on r.tenant_id = v.tenant_id and r.vm_id = v.id and r.removed_at is null
      where v.tenant_id = $1 and v.source_id = $2`,
    [tx.tenantId, sourceId],
  );
  if (known === undefined) return insertVm(tx, chain, newest, { sourceId, tag });
  // An agent has reported it already, and nobody protects it here yet.
  if (known.chain_id === null && known.tag === tag) return { id: known.id, agentId: known.agent_id };
  const isOlder = known.code === CODE_AGENT_UNKNOWN && known.last !== null && BigInt(`0x${known.last}`) < newest.cycle;
  if (!isOlder) return insertVm(tx, chain, newest, { sourceId: chain.chainId, tag });
  await tx.execute(`update virtual_machine set source_id = $3 where tenant_id = $1 and id = $2`, [tx.tenantId, known.id, known.chain_id]);
  return insertVm(tx, chain, newest, { sourceId, tag });
}

async function insertVm(
  tx: Tx,
  chain: RecoveredChain,
  newest: Manifest,
  { sourceId, tag }: { readonly sourceId: string; readonly tag: string },
): Promise<Vm> {
  const agentId = await ensureLostAgent(tx, tag);
  const id = newId();
  await tx.execute(
    `insert into virtual_machine (id, tenant_id, agent_id, source_id, name, power, obstacle, definition) values ($1, $2, $3, $4, $5, 'unknown', $6, $7)`,
    [
      id,
      tx.tenantId,
      agentId,
      sourceId,
      newest.vm.name,
      'its agent is not known: the catalogue was rebuilt from the store',
      JSON.stringify({ ...newest.vm, sourceId, disks: newest.disks }),
    ],
  );
  return { id, agentId };
}

const LOST_AGENT = 'unknown.invalid';

async function ensureLostAgent(tx: Tx, tag: string): Promise<string> {
  const known = await tx.maybeOne<{ id: string }>(`select id from agent where tenant_id = $1 and tag = $2 and fqdn = $3`, [
    tx.tenantId,
    tag,
    LOST_AGENT,
  ]);
  if (known !== undefined) return known.id;
  const id = newId();
  await tx.execute(
    `insert into agent (id, tenant_id, tag, fqdn, state, state_reason, certificate_sha256, certificate_serial, certificate_not_after, issuer_sha256,
                        signing_key, unwrapping_key, version)
     values ($1, $2, $3, $5, 'revoked', 'stands for agents that the store does not tell of', $4, '0', now(), $4, '', '', '0')`,
    [id, tx.tenantId, tag, createHash('sha256').update(id).digest('hex'), LOST_AGENT],
  );
  return id;
}

/**
 * The relationships that come back to life: rebuilt ones whose VM this agent, of the replica's own tag, has now. The chain goes on at its head; whether
 * what changed since is known, the marks in the agent's hypervisor tell, and where it is not everything is read again.
 */
export async function takeUpRebuilt(tx: Tx, agentId: AgentId): Promise<RelationshipRow[]> {
  const taken: RelationshipRow[] = [];
  for (const row of await listAgentRelationships(tx, agentId, 0)) {
    if (row.state !== 'Error' || row.failure_code !== CODE_AGENT_UNKNOWN) continue;
    const { is_own: isOwn, has_point: hasPoint } = await tx.one<{ is_own: boolean; has_point: boolean }>(
      `select c.tag = a.tag and v.agent_id = a.id as is_own, exists (select from recovery_point p where p.tenant_id = c.tenant_id and p.chain_id = c.id) as has_point
         from replica_chain c, agent a, virtual_machine v
        where c.tenant_id = $1 and c.id = $2 and a.tenant_id = $1 and a.id = $3 and v.tenant_id = $1 and v.id = $4`,
      [tx.tenantId, row.chain_id, agentId, row.vm_id],
    );
    if (isOwn) taken.push(await applyEvent(tx, row, hasPoint ? 'resumed' : 'resumedInitial', { failure: null }));
  }
  return taken;
}
