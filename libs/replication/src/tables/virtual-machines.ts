import type { InventoryReport } from '#libs/contracts/wire';
import { type AgentId, CodedError, newId, type VmId } from '#libs/kernel';
import type { RowOf, Tx } from '#libs/platform';
import { virtualMachineTable } from './tables.js';

export type VirtualMachineRow = RowOf<typeof virtualMachineTable>;

/** An agent is heard of every few seconds; after this long without a word it counts as silent. */
export const AGENT_SILENCE_MS = 60_000;

export class VmNotFoundError extends CodedError {
  constructor() {
    super('vm.not-found', 'not-found', 'there is no such virtual machine');
  }
}

/**
 * Takes one VM as its agent sees it. A VM that another agent of the tenant reported before moves here only within the tag, and only
 * once that agent no longer sees it or is silent: a host cannot take another's VM by claiming its id.
 */
export async function upsertVirtualMachine(tx: Tx, agentId: AgentId, vm: InventoryReport['vms'][number]): Promise<void> {
  const { definition, power, obstacle } = vm;
  await tx.execute(
    `insert into virtual_machine (id, tenant_id, agent_id, source_id, name, power, obstacle, definition)
     values ($1, $2, $3, $4, $5, $6, $7, $8)
     on conflict (tenant_id, source_id) do update
       set agent_id = excluded.agent_id, name = excluded.name, power = excluded.power, obstacle = excluded.obstacle,
           definition = excluded.definition, reported_at = now()
     where virtual_machine.agent_id = excluded.agent_id
        or exists (select from agent former join agent claimant on claimant.tenant_id = former.tenant_id and claimant.tag = former.tag
                    where former.tenant_id = $2 and former.id = virtual_machine.agent_id and claimant.id = $3
                      and (virtual_machine.power = 'unknown' or former.state <> 'active'
                           or coalesce(former.last_seen_at, former.enrolled_at) < now() - $9 * interval '1 millisecond'))`,
    [newId(), tx.tenantId, agentId, definition.sourceId, definition.name, power, obstacle, JSON.stringify(definition), AGENT_SILENCE_MS],
  );
}

/** What the agent no longer sees may be off, moved or deleted; which of them it can't tell. */
export async function markUnseen(tx: Tx, agentId: AgentId, seenSourceIds: readonly string[]): Promise<void> {
  await tx.execute(`update virtual_machine set power = 'unknown' where tenant_id = $1 and agent_id = $2 and source_id <> all($3::uuid[])`, [
    tx.tenantId,
    agentId,
    [...seenSourceIds],
  ]);
}

export async function getVirtualMachine(tx: Tx, id: VmId): Promise<VirtualMachineRow> {
  const row = await tx.maybeOne<VirtualMachineRow>(
    `select ${virtualMachineTable.list} from virtual_machine where tenant_id = $1 and id = $2`,
    [tx.tenantId, id],
  );
  if (row === undefined) throw new VmNotFoundError();
  return row;
}

export function listVirtualMachines(tx: Tx): Promise<(VirtualMachineRow & { readonly relationship_id: string | null })[]> {
  return tx.query(
    `select v.*, r.id as relationship_id
       from virtual_machine v
       left join replication_relationship r on r.tenant_id = v.tenant_id and r.vm_id = v.id and r.removed_at is null
      where v.tenant_id = $1 order by v.name, v.id`,
    [tx.tenantId],
  );
}
