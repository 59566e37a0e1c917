import type { ReplicationPolicy } from '#libs/contracts/wire';
import { type AgentId, type ChainId, CodedError, type RelationshipId, type VmId } from '#libs/kernel';
import { isUniqueViolation, type RowOf, type Tx } from '#libs/platform';
import { nextState, type ReplicationEvent } from '../domain/replication-state.js';
import { relationshipTable } from './tables.js';

export type RelationshipRow = RowOf<typeof relationshipTable>;

export class RelationshipNotFoundError extends CodedError {
  constructor() {
    super('relationship.not-found', 'not-found', 'there is no such replication relationship');
  }
}

export interface NewRelationship {
  readonly id: RelationshipId;
  readonly vmId: VmId;
  readonly agentId: AgentId;
  readonly chainId: ChainId;
  readonly storageLocationId: string;
  readonly policy: ReplicationPolicy;
}

export async function insertRelationship(tx: Tx, relationship: NewRelationship): Promise<RelationshipRow> {
  try {
    return await tx.one<RelationshipRow>(
      `insert into replication_relationship (id, tenant_id, vm_id, agent_id, chain_id, storage_location_id, mode, state, policy)
       values ($1, $2, $3, $4, $5, $6, 'Primary', 'ReadyForInitialReplication', $7) returning ${relationshipTable.list}`,
      [
        relationship.id,
        tx.tenantId,
        relationship.vmId,
        relationship.agentId,
        relationship.chainId,
        relationship.storageLocationId,
        JSON.stringify(relationship.policy),
      ],
    );
  } catch (error) {
    if (!isUniqueViolation(error, 'replication_relationship_one_a_vm')) throw error;
    throw new CodedError('relationship.exists', 'conflict', 'this VM is replicated already', {}, error);
  }
}

/** The row, locked when it is to be decided on. A removed relationship is not found. */
export async function getRelationship(tx: Tx, id: RelationshipId, options: { readonly lock: boolean }): Promise<RelationshipRow> {
  const row = await tx.maybeOne<RelationshipRow>(
    `select ${relationshipTable.list} from replication_relationship
      where tenant_id = $1 and id = $2 and removed_at is null ${options.lock ? 'for update' : ''}`,
    [tx.tenantId, id],
  );
  if (row === undefined) throw new RelationshipNotFoundError();
  return row;
}

export async function findRelationshipOfChain(
  tx: Tx,
  chainId: ChainId,
  options: { readonly lock: boolean },
): Promise<RelationshipRow | undefined> {
  return tx.maybeOne<RelationshipRow>(
    `select ${relationshipTable.list} from replication_relationship where tenant_id = $1 and chain_id = $2 ${options.lock ? 'for update' : ''}`,
    [tx.tenantId, chainId],
  );
}

export function listRelationships(tx: Tx): Promise<RelationshipRow[]> {
  return tx.query<RelationshipRow>(
    `select ${relationshipTable.list} from replication_relationship where tenant_id = $1 and removed_at is null order by created_at, id`,
    [tx.tenantId],
  );
}

/** Those of one agent, with what was removed no longer ago than `removedWithinMs`. */
export function listAgentRelationships(tx: Tx, agentId: AgentId, removedWithinMs: number): Promise<RelationshipRow[]> {
  return tx.query<RelationshipRow>(
    `select ${relationshipTable.list} from replication_relationship
      where tenant_id = $1 and agent_id = $2 and (removed_at is null or removed_at > now() - $3 * interval '1 millisecond')
      order by created_at, id`,
    [tx.tenantId, agentId, removedWithinMs],
  );
}

export interface RelationshipChange {
  readonly policy?: ReplicationPolicy;
  readonly mode?: RelationshipRow['mode'];
  readonly failure?: { readonly code: string; readonly message: string } | null;
}

/** Applies an event to a locked row, with what else changes. The revision grows, so that the agent can tell the new wish from the old. */
export async function applyEvent(
  tx: Tx,
  row: RelationshipRow,
  event: ReplicationEvent | null,
  change: RelationshipChange = {},
): Promise<RelationshipRow> {
  const state = event === null ? row.state : nextState(row.state, event);
  const failure = change.failure === undefined ? { code: row.failure_code, message: row.failure_message } : change.failure;
  return tx.one<RelationshipRow>(
    `update replication_relationship
        set state = $3, mode = $4, policy = $5, failure_code = $6, failure_message = $7, revision = revision + 1,
            removed_at = case when $3 = 'Disabled' then now() end
      where tenant_id = $1 and id = $2 returning ${relationshipTable.list}`,
    [
      tx.tenantId,
      row.id,
      state,
      change.mode ?? row.mode,
      JSON.stringify(change.policy ?? row.policy),
      failure?.code ?? null,
      failure?.message ?? null,
    ],
  );
}
