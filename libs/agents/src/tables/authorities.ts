import { assert, newId } from '#libs/kernel';
import type { PlatformTx, RowOf, Tx } from '#libs/platform';
import type { TenantKey } from '#libs/pki';
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

/** Makes the tenant's active key of it; false when there is one already. */
export async function insertTenantKey(tx: Tx, key: TenantKey): Promise<boolean> {
  const inserted = await tx.execute(
    `insert into tenant_key (id, tenant_id, public_key, public_key_sha256, reference) values ($1, $2, $3, $4, $5)
     on conflict (tenant_id) where state = 'active' do nothing`,
    [newId(), tx.tenantId, key.publicKeySpki, key.spkiSha256, key.reference],
  );
  return inserted === 1;
}

export function findTenantKey(tx: Tx): Promise<TenantKeyRow | undefined> {
  return tx.maybeOne<TenantKeyRow>(`select ${tenantKeyTable.list} from tenant_key where tenant_id = $1 and state = 'active'`, [
    tx.tenantId,
  ]);
}

/** Also a retired one: what was wrapped to it opens with it alone. */
export function findTenantKeyBySha256(tx: Tx, publicKeySha256: string): Promise<TenantKeyRow | undefined> {
  return tx.maybeOne<TenantKeyRow>(`select ${tenantKeyTable.list} from tenant_key where tenant_id = $1 and public_key_sha256 = $2`, [
    tx.tenantId,
    publicKeySha256,
  ]);
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
