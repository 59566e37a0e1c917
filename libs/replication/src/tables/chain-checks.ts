import { type CheckProgress } from '#libs/chain';
import type { ChainDamage } from '#libs/contracts/http';
import { type ChainId, CodedError, type RelationshipId } from '#libs/kernel';
import type { PlatformTx, RowOf, Tx } from '#libs/platform';
import { chainCheckTable } from './tables.js';

export type ChainCheckRow = RowOf<typeof chainCheckTable>;
export type NamedChainCheckRow = ChainCheckRow & { readonly vm_name: string };

/** What a report keeps, so that a chain that is all gone does not fill the database. */
const DAMAGE_MAX = 1000;

export interface NewChainCheck {
  readonly id: string;
  readonly relationshipId: RelationshipId;
  readonly chainId: ChainId;
  readonly bytes: boolean;
}

/** Refuses with `chain-check.running` while one of this chain is under way. */
export async function insertChainCheck(tx: Tx, { id, relationshipId, chainId, bytes }: NewChainCheck): Promise<void> {
  const inserted = await tx.execute(
    `insert into chain_check (id, tenant_id, relationship_id, chain_id, with_bytes) values ($1, $2, $3, $4, $5)
     on conflict (tenant_id, chain_id) where state in ('Queued', 'InProgress') do nothing`,
    [id, tx.tenantId, relationshipId, chainId, bytes],
  );
  if (inserted === 0) throw new CodedError('chain-check.running', 'conflict', 'this chain is being checked already');
}

/** Newest first: of a relationship, or the one of this id. */
export function listChainChecks(
  tx: Tx,
  of: { readonly relationshipId?: RelationshipId; readonly id?: string },
): Promise<NamedChainCheckRow[]> {
  return tx.query<NamedChainCheckRow>(
    `select k.*, v.name as vm_name from chain_check k
       join replication_relationship r on r.tenant_id = k.tenant_id and r.id = k.relationship_id
       join virtual_machine v on v.tenant_id = r.tenant_id and v.id = r.vm_id
      where k.tenant_id = $1 and ($2::uuid is null or k.relationship_id = $2) and ($3::uuid is null or k.id = $3)
      order by k.created_at desc, k.id limit 100`,
    [tx.tenantId, of.relationshipId ?? null, of.id ?? null],
  );
}

/** The one that waits longest; one that was begun before goes on. */
export function findDueChainCheck(tx: PlatformTx): Promise<Pick<ChainCheckRow, 'id' | 'tenant_id'> | undefined> {
  return tx.maybeOne(`select id, tenant_id from chain_check where state in ('Queued', 'InProgress') order by created_at limit 1`);
}

/** What an earlier run found of the structure is found again: it begins without. */
export async function startChainCheck(tx: Tx, id: string): Promise<ChainCheckRow | undefined> {
  return tx.maybeOne<ChainCheckRow>(
    `update chain_check set state = 'InProgress', damage = case when cursor = '' then '[]' else damage end
      where tenant_id = $1 and id = $2 and state in ('Queued', 'InProgress') returning ${chainCheckTable.list}`,
    [tx.tenantId, id],
  );
}

export async function recordCheckProgress(tx: Tx, id: string, progress: CheckProgress): Promise<void> {
  await tx.execute(
    `update chain_check set checked_objects = $3, total_objects = $4, checked_bytes = $5, total_bytes = $6, cursor = $7 where tenant_id = $1 and id = $2`,
    [tx.tenantId, id, progress.checkedObjects, progress.totalObjects, progress.checkedBytes, progress.totalBytes, progress.cursor],
  );
}

/** An object is in the report once, as it was found last. */
export async function recordDamage(tx: Tx, id: string, damage: ChainDamage): Promise<void> {
  await tx.execute(
    `update chain_check k set damage = others.damage || jsonb_build_array($3::jsonb)
       from (select coalesce(jsonb_agg(d), '[]') as damage from chain_check o, jsonb_array_elements(o.damage) d
              where o.tenant_id = $1 and o.id = $2 and d ->> 'object' <> $4) others
      where k.tenant_id = $1 and k.id = $2 and jsonb_array_length(k.damage) < $5`,
    [tx.tenantId, id, JSON.stringify(damage), damage.object, DAMAGE_MAX],
  );
}

export async function endChainCheck(
  tx: Tx,
  id: string,
  failure: { readonly code: string; readonly message: string } | null,
): Promise<void> {
  await tx.execute(
    `update chain_check set state = case when $3::text is null then 'Completed' else 'Failed' end, failure_code = $3, failure_message = $4, ended_at = now()
      where tenant_id = $1 and id = $2`,
    [tx.tenantId, id, failure?.code ?? null, failure?.message ?? null],
  );
}

/** The points among these positions, at most so many. */
export async function pointsAt(tx: Tx, chainId: string, cycles: readonly string[], limit: number): Promise<string[]> {
  const rows = await tx.query<{ id: string }>(
    `select p.id from chain_manifest m join recovery_point p on p.tenant_id = m.tenant_id and p.id = m.id
      where m.tenant_id = $1 and m.chain_id = $2 and m.cycle = any($3::text[]) order by m.cycle limit $4`,
    [tx.tenantId, chainId, cycles, limit],
  );
  return rows.map(({ id }) => id);
}
