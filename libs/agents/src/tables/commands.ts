import { newId, type AgentId, type CommandId, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import { commandPayloads, type CommandKind, type CommandPayload, type CommandResult } from '#libs/contracts/commands';
import type { Epoch } from '#libs/contracts/common';
import type { AnyTx, PlatformTx, RowOf, Tx } from '#libs/platform';
import { commandTable } from './tables.js';

export type CommandRow = RowOf<typeof commandTable>;

export type CommandRecipient =
  { readonly role: 'agent'; readonly id: AgentId } | { readonly role: 'replica-node'; readonly id: ReplicaNodeId };

export interface NewCommand<K extends CommandKind = CommandKind> {
  readonly to: CommandRecipient;
  readonly kind: K;
  readonly payload: CommandPayload<K>;
  /** Commands with one subject (a relationship's id) are run in order. */
  readonly subjectId?: string;
  /** The recipient refuses the command once it has seen a newer one. */
  readonly epoch?: Epoch;
}

export const COMMAND_CHANNEL = 'holdfast_command';

/**
 * Puts a command into its recipient's queue: it is delivered, at least once, if and only if this transaction commits. Of a
 * tenant always, also when a replica node is told. Keep the transaction short: until it ends, others who send to the same
 * recipient wait, so that positions are committed in their order and a reader who asks for what comes `after` misses none.
 */
export async function sendCommand<K extends CommandKind>(tx: Tx, command: NewCommand<K>): Promise<CommandId> {
  const payload = commandPayloads[command.kind].parse(command.payload);
  const id = newId<CommandId>();
  await tx.execute(`select pg_advisory_xact_lock(hashtextextended($1, 0))`, [`command ${command.to.id}`]);
  await tx.execute(
    `insert into command (id, tenant_id, recipient_role, recipient_id, kind, subject_id, epoch_incarnation, epoch_counter, payload)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    [
      id,
      tx.tenantId,
      command.to.role,
      command.to.id,
      command.kind,
      command.subjectId ?? null,
      command.epoch?.incarnation ?? null,
      command.epoch?.counter ?? null,
      JSON.stringify(payload),
    ],
  );
  await tx.execute(`select pg_notify('${COMMAND_CHANNEL}', $1)`, [command.to.id]);
  return id;
}

/** What the recipient has not finished yet, from after a position on, in order. Of an agent in its tenant's transaction. */
export function waitingCommands(tx: AnyTx, recipient: CommandRecipient, after: number, limit: number): Promise<CommandRow[]> {
  return tx.query<CommandRow>(
    `select ${commandTable.list} from command
      where recipient_id = $1 and recipient_role = $2 and finished_at is null and seq > $3 order by seq limit $4`,
    [recipient.id, recipient.role, after, limit],
  );
}

/** Whose command it is, if it was sent to this replica node. */
export async function findCommandTenant(tx: PlatformTx, id: string, replicaNodeId: ReplicaNodeId): Promise<TenantId | undefined> {
  const row = await tx.maybeOne<{ tenant_id: TenantId }>(`select tenant_id from command where id = $1 and replica_node_id = $2`, [
    id,
    replicaNodeId,
  ]);
  return row?.tenant_id;
}

export function lockCommand(tx: Tx, id: string, recipient: CommandRecipient): Promise<CommandRow | undefined> {
  return tx.maybeOne<CommandRow>(
    `select ${commandTable.list} from command where tenant_id = $1 and id = $2 and recipient_id = $3 and recipient_role = $4 for update`,
    [tx.tenantId, id, recipient.id, recipient.role],
  );
}

/** The keys that it carried are forgotten here: whoever it was for has them, and it is never sent again. */
export async function finishCommand(tx: Tx, id: CommandId, result: CommandResult): Promise<void> {
  await tx.execute(
    `update command set outcome = $3, result = $4, finished_at = now(),
            payload = case when payload ? 'source' then jsonb_set(payload, '{source,keys}', '[]') else payload end
      where tenant_id = $1 and id = $2`,
    [tx.tenantId, id, result.outcome, JSON.stringify(result)],
  );
}

export function findCommand(tx: Tx, id: CommandId): Promise<CommandRow | undefined> {
  return tx.maybeOne<CommandRow>(`select ${commandTable.list} from command where tenant_id = $1 and id = $2`, [tx.tenantId, id]);
}

/** The last one of a kind that was sent about a subject; for whoever must not send a second one. */
export function newestCommandOf(tx: Tx, subjectId: string, kind: CommandKind): Promise<CommandRow | undefined> {
  return tx.maybeOne<CommandRow>(
    `select ${commandTable.list} from command where tenant_id = $1 and subject_id = $2 and kind = $3 order by seq desc limit 1`,
    [tx.tenantId, subjectId, kind],
  );
}

/** Tells every replica node that runs something of the tenant to stop it and forget its overlays; those that were told already are not told again. */
export async function stopReplicasOfTenant(tx: Tx): Promise<void> {
  const running = await tx.query<{ node: ReplicaNodeId; failover_id: string }>(
    `select distinct c.replica_node_id as node, c.subject_id as failover_id from command c
      where c.tenant_id = $1 and c.kind = 'replica.start' and c.replica_node_id is not null and not exists (
              select from command s where s.tenant_id = c.tenant_id and s.subject_id = c.subject_id and s.kind = 'replica.stop'
                 and s.recipient_id = c.recipient_id and s.seq > c.seq)`,
    [tx.tenantId],
  );
  for (const { node, failover_id: failoverId } of running) {
    await sendCommand(tx, { to: { role: 'replica-node', id: node }, kind: 'replica.stop', subjectId: failoverId, payload: { failoverId } });
  }
}

/** Whatever the tenant's agents and replica nodes were told, but to stop. */
export async function forgetCommandsOfTenant(tx: PlatformTx, tenantId: TenantId): Promise<void> {
  await tx.execute(`delete from command where tenant_id = $1 and kind <> 'replica.stop'`, [tenantId]);
}
