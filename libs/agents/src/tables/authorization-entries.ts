import { newId } from '#libs/kernel';
import type { RowOf, Tx } from '#libs/platform';
import type { AllowedServerRule } from '#libs/pki';
import type { AuthorizationRule } from '../domain/authorization.js';
import { authorizationEntryTable, storageLocationTable } from './tables.js';

export type AuthorizationEntryRow = RowOf<typeof authorizationEntryTable>;
export type StorageLocationRow = RowOf<typeof storageLocationTable>;

export function insertAuthorizationEntry(
  tx: Tx,
  entry: { readonly server: AllowedServerRule; readonly tag: string; readonly storageLocationId: string },
): Promise<AuthorizationEntryRow> {
  return tx.one<AuthorizationEntryRow>(
    `insert into authorization_entry (id, tenant_id, server_kind, server_name, depth, tag, storage_location_id)
     values ($1, $2, $3, $4, $5, $6, $7) returning ${authorizationEntryTable.list}`,
    [newId(), tx.tenantId, entry.server.kind, entry.server.name, entry.server.depth, entry.tag, entry.storageLocationId],
  );
}

export function listAuthorizationEntries(
  tx: Tx,
  page: { readonly after: string | undefined; readonly limit: number },
): Promise<AuthorizationEntryRow[]> {
  return tx.query<AuthorizationEntryRow>(
    `select ${authorizationEntryTable.list} from authorization_entry
      where tenant_id = $1 and ($2::uuid is null or id > $2) order by id limit $3`,
    [tx.tenantId, page.after ?? null, page.limit],
  );
}

export function deleteAuthorizationEntry(tx: Tx, id: string): Promise<AuthorizationEntryRow | undefined> {
  return tx.maybeOne<AuthorizationEntryRow>(
    `delete from authorization_entry where tenant_id = $1 and id = $2 returning ${authorizationEntryTable.list}`,
    [tx.tenantId, id],
  );
}

/** The enabled entries of a tag, compiled as they were written. */
export async function authorizationRules(tx: Tx, tag: string): Promise<AuthorizationRule[]> {
  const rows = await tx.query<AuthorizationEntryRow>(
    `select ${authorizationEntryTable.list} from authorization_entry where tenant_id = $1 and tag = $2 and enabled`,
    [tx.tenantId, tag],
  );
  return rows.map((row) => ({
    server: { kind: row.server_kind, name: row.server_name, depth: row.depth },
    tag: row.tag,
    storageLocationId: row.storage_location_id,
    enabled: row.enabled,
  }));
}

export function listStorageLocations(tx: Tx): Promise<StorageLocationRow[]> {
  return tx.query<StorageLocationRow>(`select ${storageLocationTable.list} from storage_location where tenant_id = $1 order by id`, [
    tx.tenantId,
  ]);
}

/** The named one, or the tenant's default. */
export function findStorageLocation(tx: Tx, id?: string): Promise<StorageLocationRow | undefined> {
  return tx.maybeOne<StorageLocationRow>(
    `select ${storageLocationTable.list} from storage_location where tenant_id = $1 and (id = $2 or ($2::uuid is null and is_default))`,
    [tx.tenantId, id ?? null],
  );
}
