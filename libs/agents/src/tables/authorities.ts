import { assert, newId, type TenantId } from '#libs/kernel';
import type { AnyTx, PlatformTx, RowOf, Tx } from '#libs/platform';
import { providerAuthorityTable, tenantAuthorityTable, tenantKeyTable } from './tables.js';

export type ProviderAuthorityRow = RowOf<typeof providerAuthorityTable>;
export type TenantAuthorityRow = RowOf<typeof tenantAuthorityTable>;
export type TenantKeyRow = RowOf<typeof tenantKeyTable>;

/** An authority as a row keeps it. */
export interface StoredAuthority {
  readonly certificatePem: string;
  /** Of an intermediate, what a leaf names its issuer by. */
  readonly fingerprintSha256: string;
  readonly sealedKey: Buffer;
  readonly notAfter: Date;
}

/** Any constant will do that is the same in every process: only one of them makes the root. */
const FIRST_START_LOCK = 4_104_300;

export async function lockFirstStart(tx: PlatformTx): Promise<void> {
  await tx.execute(`select pg_advisory_xact_lock($1)`, [FIRST_START_LOCK]);
}

export function findProviderAuthority(tx: PlatformTx, kind: 'root' | 'nodes'): Promise<ProviderAuthorityRow | undefined> {
  return tx.maybeOne<ProviderAuthorityRow>(`select ${providerAuthorityTable.list} from provider_authority where kind = $1`, [kind]);
}

export async function insertProviderAuthority(tx: PlatformTx, kind: 'root' | 'nodes', authority: StoredAuthority): Promise<void> {
  await tx.execute(
    `insert into provider_authority (id, kind, certificate_pem, fingerprint_sha256, sealed_key, not_after) values ($1, $2, $3, $4, $5, $6)`,
    [newId(), kind, authority.certificatePem, authority.fingerprintSha256, authority.sealedKey, authority.notAfter],
  );
}

export async function insertTenantAuthority(tx: Tx, authority: StoredAuthority): Promise<void> {
  await tx.execute(
    `insert into tenant_authority (id, tenant_id, certificate_pem, fingerprint_sha256, sealed_key, not_after) values ($1, $2, $3, $4, $5, $6)`,
    [newId(), tx.tenantId, authority.certificatePem, authority.fingerprintSha256, authority.sealedKey, authority.notAfter],
  );
}

/** The newest active one issues; the others are accepted until they are retired. */
export function findIssuingAuthority(tx: Tx): Promise<TenantAuthorityRow | undefined> {
  return tx.maybeOne<TenantAuthorityRow>(
    `select ${tenantAuthorityTable.list} from tenant_authority where tenant_id = $1 and state = 'active' order by created_at desc limit 1`,
    [tx.tenantId],
  );
}

/** A key for {@link insertTenantKey}: `reference` is null where the tenant holds the private half. */
export interface NewTenantKey {
  readonly publicKeySpki: Buffer;
  readonly spkiSha256: string;
  readonly reference: string | null;
  readonly succession: Buffer | null;
}

/** Makes the tenant's active key of it, the next version; false when there is an active one already. */
export async function insertTenantKey(tx: Tx, key: NewTenantKey): Promise<boolean> {
  const inserted = await tx.execute(
    `insert into tenant_key (id, tenant_id, public_key, public_key_sha256, reference, holder, succession, version)
     values ($1, $2, $3, $4, $5, $6, $7, (select coalesce(max(version), 0) + 1 from tenant_key where tenant_id = $2))
     on conflict (tenant_id) where state = 'active' do nothing`,
    [
      newId(),
      tx.tenantId,
      key.publicKeySpki,
      key.spkiSha256,
      key.reference,
      key.reference === null ? 'tenant' : 'provider',
      key.succession,
    ],
  );
  return inserted === 1;
}

/** The active key, held until the transaction ends: of two that rotate at once the second sees what the first made. */
export function lockTenantKey(tx: Tx): Promise<TenantKeyRow | undefined> {
  return tx.maybeOne<TenantKeyRow>(`select ${tenantKeyTable.list} from tenant_key where tenant_id = $1 and state = 'active' for update`, [
    tx.tenantId,
  ]);
}

/** Nothing is wrapped to it from now on; it opens what was. */
export async function retireTenantKey(tx: Tx, id: string): Promise<void> {
  await tx.execute(`update tenant_key set state = 'retired', retired_at = now() where tenant_id = $1 and id = $2 and state = 'active'`, [
    tx.tenantId,
    id,
  ]);
}

/** Its private half is gone, or of no use any more. */
export async function markTenantKeyDestroyed(tx: AnyTx, tenantId: TenantId, id: string): Promise<void> {
  await tx.execute(
    `update tenant_key set state = 'destroyed', destroyed_at = now() where tenant_id = $1 and id = $2 and state <> 'destroyed'`,
    [tenantId, id],
  );
}

/** Every version, oldest first. */
export function listTenantKeys(tx: Tx): Promise<TenantKeyRow[]> {
  return tx.query<TenantKeyRow>(`select ${tenantKeyTable.list} from tenant_key where tenant_id = $1 order by version`, [tx.tenantId]);
}

/** A page of the keys of any tenant that are no longer wrapped to, and retired for so long, by their ids. */
export function listRetiredKeys(
  tx: PlatformTx,
  retiredMs: number,
  page: { readonly after: string | null; readonly limit: number },
): Promise<TenantKeyRow[]> {
  return tx.query<TenantKeyRow>(
    `select ${tenantKeyTable.list} from tenant_key where state = 'retired' and retired_at <= now() - $1 * interval '1 millisecond'
        and ($2::uuid is null or id > $2::uuid)
      order by id limit $3`,
    [retiredMs, page.after, page.limit],
  );
}

export async function tenantsWithRetiredKeys(tx: PlatformTx): Promise<TenantId[]> {
  const rows = await tx.query<{ tenant_id: TenantId }>(`select distinct tenant_id from tenant_key where state = 'retired'`);
  return rows.map(({ tenant_id }) => tenant_id);
}

export async function readKeyPolicy(tx: Tx): Promise<{ readonly dataKeyDays: number | null }> {
  const row = await tx.maybeOne<{ data_key_days: number | null }>(`select data_key_days from key_policy where tenant_id = $1`, [
    tx.tenantId,
  ]);
  return { dataKeyDays: row?.data_key_days ?? null };
}

export async function writeKeyPolicy(tx: Tx, policy: { readonly dataKeyDays: number | null }): Promise<void> {
  await tx.execute(
    `insert into key_policy (tenant_id, data_key_days) values ($1, $2) on conflict (tenant_id) do update set data_key_days = excluded.data_key_days`,
    [tx.tenantId, policy.dataKeyDays],
  );
}

export function findTenantKey(tx: Tx): Promise<TenantKeyRow | undefined> {
  return tx.maybeOne<TenantKeyRow>(`select ${tenantKeyTable.list} from tenant_key where tenant_id = $1 and state = 'active'`, [
    tx.tenantId,
  ]);
}

/** Also a retired one: what was wrapped to it opens with it alone. */
export function findTenantKeyBySha256(
  tx: Tx,
  publicKeySha256: string,
  options: { readonly lock: boolean } = { lock: false },
): Promise<TenantKeyRow | undefined> {
  return tx.maybeOne<TenantKeyRow>(
    `select ${tenantKeyTable.list} from tenant_key where tenant_id = $1 and public_key_sha256 = $2 ${options.lock ? 'for share' : ''}`,
    [tx.tenantId, publicKeySha256],
  );
}

/** The key that data keys of this tenant are wrapped to. Every tenant with an agent has one. */
export async function activeTenantKey(tx: Tx): Promise<TenantKeyRow> {
  const row = await findTenantKey(tx);
  assert(row !== undefined, 'a tenant with an agent has a key');
  return row;
}

export async function insertDefaultStorageLocation(tx: Tx): Promise<void> {
  await tx.execute(`insert into storage_location (id, tenant_id, name, is_default) values ($1, $2, 'default', true)`, [
    newId(),
    tx.tenantId,
  ]);
}
