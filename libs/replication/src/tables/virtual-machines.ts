import type { InventoryReport } from '#libs/contracts/wire';
import { type AgentId, CodedError, newId, type VmId } from '#libs/kernel';
import type { RowOf, Tx } from '#libs/platform';
import { virtualMachineTable } from './tables.js';

export type VirtualMachineRow = RowOf<typeof virtualMachineTable>;

export class VmNotFoundError extends CodedError {
  constructor() {
    super('vm.not-found', 'not-found', 'there is no such virtual machine');
  }
}

/**
 * Takes one VM as its agent sees it. A VM that another agent of the tenant reported before has moved there: its row follows it
 * if both agents carry the same tag, and is left alone otherwise, so that a host cannot claim another's VM by its id.
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
        or (select tag from agent where tenant_id = $2 and id = virtual_machine.agent_id) = (select tag from agent where tenant_id = $2 and id = $3)`,
    [newId(), tx.tenantId, agentId, definition.sourceId, definition.name, power, obstacle, JSON.stringify(definition)],
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
