import type { WrappedKeyKind } from '#libs/chain';
import type { KeyHolder } from '#libs/contracts/common';
import type { ChainId } from '#libs/kernel';
import type { RowOf, Tx } from '#libs/platform';
import { chainKeyTable } from './tables.js';

export type ChainKeyRow = RowOf<typeof chainKeyTable>;

/** A wrapped key object, with who can open it. `reference` is null where that is the tenant. */
export interface HeldKey {
  readonly chain_id: ChainId;
  readonly kind: WrappedKeyKind;
  readonly generation: number;
  readonly recipient: string;
  readonly holder: KeyHolder;
  readonly reference: string | null;
  /** What was wrong when it was last opened. */
  readonly fault: string | null;
}

/**
 * Every key that may have sealed something of a point: those that the chain had when it was committed, since no segment is taken before its
 * generation's key is stored. One of a generation for each version of the tenant's key that it is wrapped to.
 */
export function keysOfPoint(tx: Tx, chainId: ChainId, manifestSha256: string): Promise<HeldKey[]> {
  return tx.query<HeldKey>(
    `select k.chain_id, k.kind, k.generation, k.recipient, k.fault, t.holder, t.reference
       from chain_key k join tenant_key t on t.tenant_id = k.tenant_id and t.public_key_sha256 = k.recipient and t.state <> 'destroyed'
      where k.tenant_id = $1 and k.chain_id = $2 and exists (
              select from chain_key o join chain_manifest m on m.tenant_id = o.tenant_id and m.chain_id = o.chain_id and m.sha256 = $3
               where o.tenant_id = k.tenant_id and o.chain_id = k.chain_id and o.kind = k.kind and o.generation = k.generation
                 and o.created_at <= m.committed_at)
      order by k.kind, k.generation, k.fault is not null, t.version desc`,
    [tx.tenantId, chainId, manifestSha256],
  );
}

/**
 * Keys that a version of the tenant's key opens and the active one does not yet; `byTenant`: without those that the provider opens by another version.
 * Those that did not open come last, the one that was tried longest ago first: they keep nothing else from going on.
 */
export function keysToRewrap(
  tx: Tx,
  of: { readonly recipient: string; readonly active: string; readonly byTenant: boolean },
  limit: number,
): Promise<{ chain_id: ChainId; kind: WrappedKeyKind; generation: number; writer_id: string }[]> {
  return tx.query(
    `select k.chain_id, k.kind, k.generation, k.writer_id from chain_key k
      where k.tenant_id = $1 and k.recipient = $2 and not exists (
              select from chain_key a where a.tenant_id = k.tenant_id and a.chain_id = k.chain_id and a.kind = k.kind
                 and a.generation = k.generation and a.recipient = $3)
        and not ($5 and exists (
              select from chain_key o join tenant_key t on t.tenant_id = o.tenant_id and t.public_key_sha256 = o.recipient and t.holder = 'provider'
               where o.tenant_id = k.tenant_id and o.chain_id = k.chain_id and o.kind = k.kind and o.generation = k.generation))
      order by k.fault_at nulls first, k.chain_id, k.kind, k.generation limit $4`,
    [tx.tenantId, of.recipient, of.active, limit, of.byTenant],
  );
}

/** How many those are. */
export async function countKeysToRewrap(tx: Tx, of: { readonly recipient: string; readonly active: string }): Promise<number> {
  const { count } = await tx.one<{ count: number }>(
    `select count(*)::int as count from chain_key k
      where k.tenant_id = $1 and k.recipient = $2 and not exists (
              select from chain_key a where a.tenant_id = k.tenant_id and a.chain_id = k.chain_id and a.kind = k.kind
                 and a.generation = k.generation and a.recipient = $3)`,
    [tx.tenantId, of.recipient, of.active],
  );
  return count;
}

/**
 * A key that its holder wrapped again to another version of the tenant's key; its object is in the store. It is as old as the key itself: by that
 * a point knows what it needs.
 */
export async function recordRewrapped(
  tx: Tx,
  key: { readonly chainId: ChainId; readonly kind: WrappedKeyKind; readonly generation: number; readonly recipient: string },
): Promise<void> {
  await tx.execute(
    `insert into chain_key (tenant_id, chain_id, kind, generation, recipient, writer_id, wrapped_by, created_at)
     select tenant_id, chain_id, kind, generation, $5, writer_id, 'holder', created_at from chain_key
      where tenant_id = $1 and chain_id = $2 and kind = $3 and generation = $4 order by created_at limit 1
     on conflict do nothing`,
    [tx.tenantId, key.chainId, key.kind, key.generation, key.recipient],
  );
}

/** Whether something that was promised to stay stands on what is wrapped to one version: a second copy under another key is only as good as its maker's word. */
export async function isPromised(tx: Tx, recipient: string): Promise<boolean> {
  const { promised } = await tx.one<{ promised: boolean }>(
    `select exists (
       select from chain_key k where k.tenant_id = $1 and k.recipient = $2
          and (exists (select from recovery_point p where p.tenant_id = k.tenant_id and p.chain_id = k.chain_id and p.immutable_until > now())
            or exists (select from chain_retention r where r.tenant_id = k.tenant_id and r.chain_id = k.chain_id and r.locked_until > now()))
     ) as promised`,
    [tx.tenantId, recipient],
  );
  return promised;
}

/** A page of what is wrapped to one version, past so many. */
export function keysWrappedTo(tx: Tx, recipient: string, limit: number, past: number): Promise<ChainKeyRow[]> {
  return tx.query<ChainKeyRow>(
    `select ${chainKeyTable.list} from chain_key where tenant_id = $1 and recipient = $2 order by chain_id, kind, generation limit $3 offset $4`,
    [tx.tenantId, recipient, limit, past],
  );
}

export function findChainKey(tx: Tx, key: Pick<ChainKeyRow, 'chain_id' | 'kind' | 'generation'>): Promise<ChainKeyRow[]> {
  return tx.query<ChainKeyRow>(
    `select ${chainKeyTable.list} from chain_key where tenant_id = $1 and chain_id = $2 and kind = $3 and generation = $4 order by created_at`,
    [tx.tenantId, key.chain_id, key.kind, key.generation],
  );
}

export async function deleteChainKey(tx: Tx, key: Pick<ChainKeyRow, 'chain_id' | 'kind' | 'generation' | 'recipient'>): Promise<void> {
  await tx.execute(`delete from chain_key where tenant_id = $1 and chain_id = $2 and kind = $3 and generation = $4 and recipient = $5`, [
    tx.tenantId,
    key.chain_id,
    key.kind,
    key.generation,
    key.recipient,
  ]);
}

/** Whatever the chain has seals nothing more: its writer begins the next generation. Asking twice in a row is asking once. */
export async function demandNewGeneration(tx: Tx, chainId: ChainId): Promise<number> {
  const { generation } = await tx.one<{ generation: number }>(
    `update replica_chain c set key_generation_min = greatest(c.key_generation_min,
            (select coalesce(max(generation), 0) + 1 from chain_key k where k.tenant_id = c.tenant_id and k.chain_id = c.id and k.kind = 'data'))
      where c.tenant_id = $1 and c.id = $2 returning c.key_generation_min as generation`,
    [tx.tenantId, chainId],
  );
  return generation;
}
