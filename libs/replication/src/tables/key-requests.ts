import type { WrappedKeyKind } from '#libs/chain';
import { type ChainId, CodedError, type RecoveryPointId, type ReplicaNodeId } from '#libs/kernel';
import type { RowOf, Tx } from '#libs/platform';
import { renewKeysOfChain } from './key-renewal.js';
import { keyGrantTable, keyRequestTable } from './tables.js';

export type KeyRequestRow = RowOf<typeof keyRequestTable>;
export type KeyGrantRow = RowOf<typeof keyGrantTable>;

/** What needs keys: a failover, an export or a publication, by its id. */
export interface KeyPurpose {
  readonly kind: KeyRequestRow['kind'];
  readonly id: string;
}

/** Asks the tenant. A repeat finds the request as it stands; a publication's is about its newest point, which needs the most keys. */
export async function insertKeyRequest(
  tx: Tx,
  request: KeyPurpose & { readonly chainId: ChainId; readonly recoveryPointId: RecoveryPointId },
): Promise<void> {
  await tx.execute(
    `insert into key_request (id, tenant_id, kind, chain_id, recovery_point_id) values ($1, $2, $3, $4, $5)
     on conflict (id) do update set recovery_point_id = excluded.recovery_point_id where key_request.kind = 'publication'`,
    [request.id, tx.tenantId, request.kind, request.chainId, request.recoveryPointId],
  );
}

export async function getKeyRequest(tx: Tx, id: string, options: { readonly lock: boolean } = { lock: false }): Promise<KeyRequestRow> {
  const row = await findKeyRequest(tx, id, options);
  if (row === undefined) throw new CodedError('key-request.not-found', 'not-found', 'nothing of this id waits for keys');
  return row;
}

export function findKeyRequest(
  tx: Tx,
  id: string,
  options: { readonly lock: boolean } = { lock: false },
): Promise<KeyRequestRow | undefined> {
  return tx.maybeOne<KeyRequestRow>(
    `select ${keyRequestTable.list} from key_request where tenant_id = $1 and id = $2 ${options.lock ? 'for update' : ''}`,
    [tx.tenantId, id],
  );
}

/** Newest first. */
export function listKeyRequests(tx: Tx): Promise<KeyRequestRow[]> {
  return tx.query<KeyRequestRow>(
    `select ${keyRequestTable.list} from key_request where tenant_id = $1 order by requested_at desc, id limit 200`,
    [tx.tenantId],
  );
}

/**
 * What it was for is over: nobody is asked any more, and what was released is forgotten here. The nodes that had the keys may remember them: so the
 * chain goes on with others.
 */
export async function endKeyRequest(tx: Tx, id: string): Promise<void> {
  const released = await tx.maybeOne<{ chain_id: ChainId }>(
    `with ended as (delete from key_request where tenant_id = $1 and id = $2 returning chain_id)
     select chain_id from ended where exists (select from key_grant where tenant_id = $1 and request_id = $2)`,
    [tx.tenantId, id],
  );
  if (released !== undefined) await renewKeysOfChain(tx, released.chain_id);
}

/** A later release to the same node stands in the place of the former. */
export async function insertKeyGrant(
  tx: Tx,
  requestId: string,
  grant: { readonly replicaNodeId: ReplicaNodeId; readonly kind: WrappedKeyKind; readonly generation: number; readonly wrapped: Buffer },
): Promise<void> {
  await tx.execute(
    `insert into key_grant (tenant_id, request_id, replica_node_id, kind, generation, wrapped) values ($1, $2, $3, $4, $5, $6)
     on conflict (tenant_id, request_id, replica_node_id, kind, generation) do update set wrapped = excluded.wrapped, granted_at = now()`,
    [tx.tenantId, requestId, grant.replicaNodeId, grant.kind, grant.generation, grant.wrapped],
  );
}

export async function markReleased(tx: Tx, id: string): Promise<void> {
  await tx.execute(`update key_request set released_at = coalesce(released_at, now()) where tenant_id = $1 and id = $2`, [tx.tenantId, id]);
}

/** What was released does not do any more: there are new keys since, or no node is left that has them. */
export async function askAgain(tx: Tx, id: string): Promise<void> {
  await tx.execute(
    `update key_request set released_at = null, requested_at = now() where tenant_id = $1 and id = $2 and released_at is not null`,
    [tx.tenantId, id],
  );
}

export function keyGrantsOf(tx: Tx, requestId: string): Promise<KeyGrantRow[]> {
  return tx.query<KeyGrantRow>(`select ${keyGrantTable.list} from key_grant where tenant_id = $1 and request_id = $2`, [
    tx.tenantId,
    requestId,
  ]);
}

/** What a request is for, in words for people. */
export async function describeKeyRequest(tx: Tx, row: KeyRequestRow): Promise<{ readonly vm_name: string; readonly instant: Date }> {
  return tx.one(
    `select v.name as vm_name, m.instant from chain_manifest m
       join replication_relationship r on r.tenant_id = m.tenant_id and r.chain_id = m.chain_id
       join virtual_machine v on v.tenant_id = r.tenant_id and v.id = r.vm_id
      where m.tenant_id = $1 and m.id = $2 order by r.created_at desc limit 1`,
    [tx.tenantId, row.recovery_point_id],
  );
}
