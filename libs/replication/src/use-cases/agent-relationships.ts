import { type AgentPeer, authorizePrimary, listTenantKeys, toTenantKeyLink } from '#libs/agents';
import type { ChainState, ManifestRef } from '#libs/chain';
import type { TenantKeyLink } from '#libs/contracts/common';
import type { WireRelationship } from '#libs/contracts/wire';
import { asId, type ChainId, DAY_MS, type RelationshipId, type VmId } from '#libs/kernel';
import { type Tx, UnitOfWork } from '#libs/platform';
import { getChain } from '../tables/chains.js';
import { getRelationship, listAgentRelationships, type RelationshipRow } from '../tables/relationships.js';
import { getVirtualMachine } from '../tables/virtual-machines.js';
import { requireWriter } from './peer-gate.js';

/** How long an agent that is away still learns that replication was removed, and forgets its keys. */
const REMOVAL_TOLD_MS = 7 * DAY_MS;

/** What an agent is to do, for each of its own relationships. */
export class AgentRelationships {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  /** Those of the VMs that this agent reports, for some days also the removed ones, `Disabled`. Another agent's are not in it, whatever their tag. */
  list(peer: AgentPeer): Promise<{ relationships: WireRelationship[]; tenantKeys: TenantKeyLink[] }> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      await authorizePrimary(tx, peer, peer.tag);
      const own = await listAgentRelationships(tx, peer.identityId, REMOVAL_TOLD_MS);
      const wires: WireRelationship[] = [];
      for (const row of own) wires.push(await this.toWire(tx, row, await getChain(tx, asId<ChainId>(row.chain_id), { lock: false })));
      return { relationships: wires, tenantKeys: (await listTenantKeys(tx)).map(toTenantKeyLink) };
    });
  }

  get(peer: AgentPeer, id: RelationshipId): Promise<WireRelationship> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const row = await getRelationship(tx, id, { lock: false });
      const chain = await getChain(tx, asId<ChainId>(row.chain_id), { lock: false });
      await requireWriter(tx, peer, row, chain);
      return this.toWire(tx, row, chain);
    });
  }

  private async toWire(tx: Tx, row: RelationshipRow, chain: ChainState): Promise<WireRelationship> {
    const vm = await getVirtualMachine(tx, asId<VmId>(row.vm_id));
    const { generation, lowest } = await tx.one<{ generation: number | null; lowest: number }>(
      `select (select max(generation) from chain_key where tenant_id = $1 and chain_id = $2 and kind = 'data') as generation,
              (select key_generation_min from replica_chain where tenant_id = $1 and id = $2) as lowest`,
      [tx.tenantId, row.chain_id],
    );
    const points = await tx.query(`select 1 from recovery_point where tenant_id = $1 and chain_id = $2 limit 1`, [
      tx.tenantId,
      row.chain_id,
    ]);
    return {
      id: row.id,
      tenantId: row.tenant_id,
      chainId: row.chain_id,
      sourceId: vm.source_id,
      vmName: vm.name,
      tag: chain.tag,
      epoch: chain.epoch,
      mode: row.mode,
      state: row.state,
      policy: row.policy,
      revision: row.revision,
      branchId: chain.branchId,
      head: chain.head === null ? null : toWireRef(chain.head),
      hasPoint: points.length > 0,
      keyGeneration: generation ?? 0,
      keyGenerationMin: lowest,
    };
  }
}

export function toWireRef(ref: ManifestRef): NonNullable<WireRelationship['head']> {
  return { ...ref, cycle: ref.cycle.toString() };
}
