import type { ChainAddress } from '#libs/chain';
import { asId, type ChainId, CodedError, type RecoveryPointId, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import { type PlatformTx, type RowOf, type Tx } from '#libs/platform';
import { endKeyRequest } from './key-requests.js';
import { endLease } from './postgres-chain-ledger.js';
import { pointExportTable } from './tables.js';

export type PointExportRow = RowOf<typeof pointExportTable>;

export interface NewPointExport {
  readonly id: string;
  readonly recoveryPointId: RecoveryPointId;
  readonly diskOrdinal: number;
  readonly format: PointExportRow['format'];
  readonly baseExportId: string | null;
  readonly fileName: string;
  readonly objectKey: string;
  /** Of which it is a file. */
  readonly publicationId?: string;
}

export async function insertPointExport(tx: Tx, row: NewPointExport): Promise<void> {
  await tx.execute(
    `insert into point_export (id, tenant_id, recovery_point_id, disk_ordinal, format, base_export_id, state, file_name, object_key, publication_id)
     values ($1, $2, $3, $4, $5, $6, 'Queued', $7, $8, $9)`,
    [
      row.id,
      tx.tenantId,
      row.recoveryPointId,
      row.diskOrdinal,
      row.format,
      row.baseExportId,
      row.fileName,
      row.objectKey,
      row.publicationId ?? null,
    ],
  );
}

export function findPointExport(
  tx: Tx,
  id: string,
  options: { readonly lock: boolean } = { lock: false },
): Promise<PointExportRow | undefined> {
  return tx.maybeOne<PointExportRow>(
    `select ${pointExportTable.list} from point_export where tenant_id = $1 and id = $2 ${options.lock ? 'for update' : ''}`,
    [tx.tenantId, id],
  );
}

export async function getPointExport(tx: Tx, id: string, options: { readonly lock: boolean } = { lock: false }): Promise<PointExportRow> {
  const row = await findPointExport(tx, id, options);
  if (row === undefined) throw new CodedError('export.not-found', 'not-found', 'there is no such export');
  return row;
}

export async function startPointExport(tx: Tx, id: string): Promise<void> {
  await tx.execute(`update point_export set state = 'InProgress' where tenant_id = $1 and id = $2 and state = 'Queued'`, [tx.tenantId, id]);
}

export interface ExportedFile {
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly uniqueId: string | null;
  readonly timestampSeconds: number | null;
}

export async function completePointExport(tx: Tx, id: string, file: ExportedFile): Promise<void> {
  await tx.execute(
    `update point_export set state = 'Completed', size_bytes = $3, sha256 = $4, unique_id = $5, timestamp_seconds = $6,
                             failure_code = null, failure_message = null, done_bytes = $3, total_bytes = $3
      where tenant_id = $1 and id = $2`,
    [tx.tenantId, id, file.sizeBytes, file.sha256, file.uniqueId, file.timestampSeconds],
  );
  await tx.execute(
    `update publication p set due_at = now(), attempts = 0, failure_code = null, failure_message = null from point_export e
      where e.tenant_id = $1 and e.id = $2 and p.tenant_id = e.tenant_id and p.id = e.publication_id`,
    [tx.tenantId, id],
  );
  await endKeyRequest(tx, id);
  await endLease(tx, id);
}

export async function failPointExport(tx: Tx, id: string, failure: { readonly code: string; readonly message: string }): Promise<void> {
  await tx.execute(
    `update point_export set state = 'Failed', failure_code = $3, failure_message = $4
      where tenant_id = $1 and id = $2 and state in ('Queued', 'InProgress')`,
    [tx.tenantId, id, failure.code, failure.message],
  );
  await tx.execute(
    `update publication p set due_at = now() from point_export e
      where e.tenant_id = $1 and e.id = $2 and p.tenant_id = e.tenant_id and p.id = e.publication_id`,
    [tx.tenantId, id],
  );
  await endKeyRequest(tx, id);
  await endLease(tx, id);
}

/** How far the node that makes it has come; from another node it is none of its business. */
export async function recordProgress(
  tx: Tx,
  id: string,
  nodeId: ReplicaNodeId,
  progress: { readonly doneBytes: number; readonly totalBytes: number },
): Promise<void> {
  await tx.execute(
    `update point_export e set done_bytes = least($4::bigint, $5::bigint), total_bytes = $5
      where e.tenant_id = $1 and e.id = $2 and e.state = 'InProgress'
        and exists (select from command c where c.tenant_id = e.tenant_id and c.subject_id = e.id and c.kind = 'point.export' and c.replica_node_id = $3)`,
    [tx.tenantId, id, nodeId, progress.doneBytes, progress.totalBytes],
  );
}

/** Those that the release of keys under this id lets go on: an export, or the file of a publication that waits. */
export async function listWaitingForKeys(tx: Tx, requestId: string): Promise<string[]> {
  const rows = await tx.query<{ id: string }>(
    `select id from point_export where tenant_id = $1 and state = 'Queued' and (id = $2 or publication_id = $2)`,
    [tx.tenantId, requestId],
  );
  return rows.map(({ id }) => id);
}

/** Refuses with `export.in-use` while a differencing VHD stands on this file. */
export async function requireUnused(tx: Tx, id: string): Promise<void> {
  const above = await tx.query(`select 1 from point_export where tenant_id = $1 and base_export_id = $2 limit 1`, [tx.tenantId, id]);
  if (above.length > 0) throw new CodedError('export.in-use', 'conflict', 'a differencing VHD stands on this file; delete that one first');
}

/** Forgets an export whose file is gone. */
export async function deletePointExport(tx: Tx, id: string): Promise<void> {
  await tx.execute(`delete from point_export where tenant_id = $1 and id = $2`, [tx.tenantId, id]);
}

/** Which of these ids are those of exports, whatever became of them. */
export async function exportsAmong(tx: Tx, ids: readonly string[]): Promise<Set<string>> {
  const rows = await tx.query<{ id: string }>(`select id from point_export where tenant_id = $1 and id::text = any($2)`, [
    tx.tenantId,
    ids,
  ]);
  return new Set(rows.map(({ id }) => id));
}

/** All chains of all tenants, a page at a time. A deleted tenant's store is emptied by other work. */
export async function pageOfChains(tx: PlatformTx, after: ChainAddress | undefined, limit: number): Promise<ChainAddress[]> {
  const rows = await tx.query<{ tenant_id: string; id: string }>(
    `select c.tenant_id, c.id from replica_chain c
      where ($1::uuid is null or (c.tenant_id, c.id) > ($1, $2))
        and not exists (select 1 from tenant t where t.id = c.tenant_id and t.state = 'deleted')
      order by c.tenant_id, c.id limit $3`,
    [after?.tenantId ?? null, after?.chainId ?? null, limit],
  );
  return rows.map((row) => ({ tenantId: asId<TenantId>(row.tenant_id), chainId: asId<ChainId>(row.id) }));
}

/** Exports that were not begun in time, unless it is the tenant's keys that they wait for, and begun ones whose replica node has not reported for long or is no longer active. */
export function listLostExports(
  tx: PlatformTx,
  patience: { readonly queuedMs: number; readonly silentMs: number },
): Promise<Pick<PointExportRow, 'id' | 'tenant_id' | 'state'>[]> {
  return tx.query(
    `select e.id, e.tenant_id, e.state from point_export e
      where (e.state = 'Queued' and e.created_at < now() - $1 * interval '1 millisecond' and not exists (
               select from key_request k where k.tenant_id = e.tenant_id and k.id in (e.id, e.publication_id)
                  and (k.released_at is null or k.released_at > now() - $1 * interval '1 millisecond')))
         or (e.state = 'InProgress' and not exists (
               select from command c
                 join replica_node_identity i on i.id = c.replica_node_id and i.state = 'active'
                 join replica_node n on n.id = i.id and n.reported_at > now() - $2 * interval '1 millisecond'
                where c.tenant_id = e.tenant_id and c.subject_id = e.id and c.kind = 'point.export'))
      limit 100`,
    [patience.queuedMs, patience.silentMs],
  );
}
