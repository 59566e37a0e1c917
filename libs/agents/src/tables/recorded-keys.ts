import type { TenantKeyRecord } from '#libs/chain';
import { newId } from '#libs/kernel';
import { sha256Hex } from '#libs/pki';
import type { AnyTx, PlatformTx, Tx } from '#libs/platform';
import { setKeyHolder } from '#libs/tenancy';
import type { TenantKeyRow } from './authorities.js';
import { tenantKeyTable } from './tables.js';

/* Versions of tenant keys, as the store tells of them. */

export function toTenantKeyRecord(row: TenantKeyRow): TenantKeyRecord {
  return {
    tenantId: row.tenant_id,
    version: row.version,
    holder: row.holder,
    publicKey: row.public_key.toString('base64'),
    succession: row.succession?.toString('base64') ?? null,
    reference: row.reference,
  };
}

/** Of any tenant, those that the store has not been told of. */
export function listUnrecordedKeys(tx: PlatformTx, limit: number): Promise<TenantKeyRow[]> {
  return tx.query<TenantKeyRow>(
    `select ${tenantKeyTable.list} from tenant_key where recorded_at is null and state <> 'destroyed' order by id limit $1`,
    [limit],
  );
}

export async function markKeyRecorded(tx: AnyTx, { id, tenant_id }: Pick<TenantKeyRow, 'id' | 'tenant_id'>): Promise<void> {
  await tx.execute(`update tenant_key set recorded_at = now() where tenant_id = $1 and id = $2 and recorded_at is null`, [tenant_id, id]);
}

/** Takes in the versions that the database lacks; the newest of all is the active one. Says how many came. One that has another's number is left out. */
export async function adoptTenantKeys(tx: Tx, records: readonly TenantKeyRecord[]): Promise<number> {
  const known = await tx.query<Pick<TenantKeyRow, 'version' | 'public_key_sha256'>>(
    `select version, public_key_sha256 from tenant_key where tenant_id = $1`,
    [tx.tenantId],
  );
  const taken = new Set(known.map(({ version }) => version));
  const missing: TenantKeyRecord[] = [];
  for (const record of records) {
    if (taken.has(record.version)) continue;
    taken.add(record.version);
    missing.push(record);
  }
  const newest = missing.at(-1);
  if (newest === undefined) return 0;
  const becomesActive = newest.version === Math.max(...taken);
  if (becomesActive) {
    await tx.execute(`update tenant_key set state = 'retired', retired_at = now() where tenant_id = $1 and state = 'active'`, [
      tx.tenantId,
    ]);
    await setKeyHolder(tx, newest.holder);
  }
  for (const record of missing) await insertRecorded(tx, record, { isActive: becomesActive && record === newest });
  return missing.length;
}

async function insertRecorded(tx: Tx, record: TenantKeyRecord, { isActive }: { readonly isActive: boolean }): Promise<void> {
  const publicKey = Buffer.from(record.publicKey, 'base64');
  await tx.execute(
    `insert into tenant_key (id, tenant_id, state, public_key, public_key_sha256, reference, holder, succession, version, retired_at, recorded_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, case when $3 = 'retired' then now() end, now())`,
    [
      newId(),
      tx.tenantId,
      isActive ? 'active' : 'retired',
      publicKey,
      sha256Hex(publicKey),
      record.reference,
      record.holder,
      record.succession === null ? null : Buffer.from(record.succession, 'base64'),
      record.version,
    ],
  );
}
