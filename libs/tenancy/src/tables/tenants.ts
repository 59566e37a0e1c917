import type { KeyHolder } from '#libs/contracts/common';
import type { TenantId } from '#libs/kernel';
import { type AnyTx, isUniqueViolation, type PlatformTx, type Tx } from '#libs/platform';
import { slugTaken } from '../domain/errors.js';
import { type TenantRow, tenantTableDefinition } from './tables.js';

const { list } = tenantTableDefinition;

/** The tenant of the transaction itself: it is made by its own first transaction. */
export async function insertTenant(
  tx: Tx,
  tenant: { readonly slug: string; readonly name: string; readonly keyHolder?: KeyHolder },
): Promise<TenantRow> {
  try {
    return await tx.one<TenantRow>(`insert into tenant (id, slug, name, key_holder) values ($1, $2, $3, $4) returning ${list}`, [
      tx.tenantId,
      tenant.slug,
      tenant.name,
      tenant.keyHolder ?? 'provider',
    ]);
  } catch (error) {
    if (isUniqueViolation(error, 'tenant_slug')) throw slugTaken(tenant.slug);
    throw error;
  }
}

/** `tenant.slug-taken`; undefined where there is no such tenant. */
export async function renameTenant(
  tx: PlatformTx,
  id: TenantId,
  { slug, name }: { readonly slug: string; readonly name: string },
): Promise<TenantRow | undefined> {
  try {
    return await tx.maybeOne<TenantRow>(`update tenant set slug = $2, name = $3 where id = $1 returning ${list}`, [id, slug, name]);
  } catch (error) {
    if (isUniqueViolation(error, 'tenant_slug')) throw slugTaken(slug);
    throw error;
  }
}

export function findTenant(tx: AnyTx, id: TenantId): Promise<TenantRow | undefined> {
  return tx.maybeOne<TenantRow>(`select ${list} from tenant where id = $1`, [id]);
}

export function findTenantBySlug(tx: PlatformTx, slug: string): Promise<TenantRow | undefined> {
  return tx.maybeOne<TenantRow>(`select ${list} from tenant where slug = $1`, [slug]);
}

/** In the order of their making; `after` is the id of the page before's last. */
export function listTenants(tx: PlatformTx, limit: number, after: string | null): Promise<TenantRow[]> {
  return tx.query<TenantRow>(`select ${list} from tenant where $2::uuid is null or id > $2 order by id limit $1`, [limit, after]);
}

export async function setKeyHolder(tx: Tx, holder: KeyHolder): Promise<void> {
  await tx.execute(`update tenant set key_holder = $2 where id = $1`, [tx.tenantId, holder]);
}
