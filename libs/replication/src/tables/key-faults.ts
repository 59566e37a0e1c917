import type { WrappedKeyKind } from '#libs/chain';
import type { ChainId, TenantId } from '#libs/kernel';
import type { PlatformTx, Tx } from '#libs/platform';

/** One wrapped object: a generation of a chain's keys, for one version of the tenant's key. */
export interface KeyObject {
  readonly chain_id: ChainId;
  readonly kind: WrappedKeyKind;
  readonly generation: number;
  readonly recipient: string;
}

export interface KeyFault extends KeyObject {
  readonly code: string;
  readonly since: Date;
  readonly vm_name: string | null;
}

export interface UnopenedKey extends KeyObject {
  readonly reference: string;
}

/** Its holder has opened it, and what is inside is what it says. */
export async function noteKeyOpened(tx: Tx, key: KeyObject): Promise<void> {
  await tx.execute(
    `update chain_key set opened_at = coalesce(opened_at, now()), fault = null, fault_at = null
      where tenant_id = $1 and chain_id = $2 and kind = $3 and generation = $4 and recipient = $5 and (opened_at is null or fault is not null)`,
    [tx.tenantId, key.chain_id, key.kind, key.generation, key.recipient],
  );
}

/** What is wrong with this very key. True when nobody knew; the time is that of the last attempt. */
export async function noteKeyFault(tx: Tx, key: KeyObject, code: string): Promise<boolean> {
  const rows = await tx.query<{ former: string | null }>(
    `update chain_key k set fault = $6, fault_at = now()
       from (select fault from chain_key
              where tenant_id = $1 and chain_id = $2 and kind = $3 and generation = $4 and recipient = $5 for update) before
      where k.tenant_id = $1 and k.chain_id = $2 and k.kind = $3 and k.generation = $4 and k.recipient = $5 returning before.fault as former`,
    [tx.tenantId, key.chain_id, key.kind, key.generation, key.recipient, code],
  );
  return rows.some(({ former }) => former === null);
}

/** Keys for versions that the provider holds which it has never opened: new ones first, and those that did not open again after a while. */
export function keysToOpen(tx: Tx, retryMs: number, limit: number): Promise<UnopenedKey[]> {
  return tx.query<UnopenedKey>(
    `select k.chain_id, k.kind, k.generation, k.recipient, t.reference
       from chain_key k join tenant_key t on t.tenant_id = k.tenant_id and t.public_key_sha256 = k.recipient
      where k.tenant_id = $1 and k.opened_at is null and t.holder = 'provider' and t.state <> 'destroyed'
        and (k.fault_at is null or k.fault_at <= now() - $2 * interval '1 millisecond')
      order by k.fault_at nulls first, k.created_at limit $3`,
    [tx.tenantId, retryMs, limit],
  );
}

export async function tenantsWithUnopenedKeys(tx: PlatformTx, retryMs: number): Promise<TenantId[]> {
  const rows = await tx.query<{ tenant_id: TenantId }>(
    `select distinct k.tenant_id from chain_key k
       join tenant_key t on t.tenant_id = k.tenant_id and t.public_key_sha256 = k.recipient and t.holder = 'provider' and t.state <> 'destroyed'
      where k.opened_at is null and (k.fault_at is null or k.fault_at <= now() - $1 * interval '1 millisecond')`,
    [retryMs],
  );
  return rows.map(({ tenant_id }) => tenant_id);
}

/** By the version that they are wrapped to. */
export function listKeyFaults(tx: Tx, recipient: string, limit: number): Promise<KeyFault[]> {
  return tx.query<KeyFault>(
    `select k.chain_id, k.kind, k.generation, k.recipient, k.fault as code, k.fault_at as since,
            (select v.name from replication_relationship r join virtual_machine v on v.tenant_id = r.tenant_id and v.id = r.vm_id
              where r.tenant_id = k.tenant_id and r.chain_id = k.chain_id order by r.created_at desc limit 1) as vm_name
       from chain_key k where k.tenant_id = $1 and k.recipient = $2 and k.fault is not null
      order by k.fault_at, k.chain_id, k.kind, k.generation limit $3`,
    [tx.tenantId, recipient, limit],
  );
}

/**
 * Since when points of a chain may need a key that opens for nobody: the age of the oldest generation whose every copy has a fault. In SQL, for the
 * chain of these columns; null where all is well. A false object in the place of the next copy says nothing of the one that is there.
 */
export const unopenableSince = (tenantId: string, chainId: string): string =>
  `(select min(g.since) from (select min(k.created_at) as since from chain_key k
      where k.tenant_id = ${tenantId} and k.chain_id = ${chainId}
      group by k.kind, k.generation having bool_and(k.fault is not null and k.fault <> 'keys.standing-differs')) g)`;
