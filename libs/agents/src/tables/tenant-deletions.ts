import type { TenantId, UserId } from '#libs/kernel';
import type { PlatformTx } from '#libs/platform';

/** A deletion with the addresses of who asked and who confirmed. */
export interface TenantDeletionRow {
  readonly tenant_id: TenantId;
  readonly requested_by: UserId;
  readonly requested_by_email: string;
  readonly requested_at: Date;
  readonly hold_until: Date;
  readonly confirmed_by_email: string | null;
  readonly confirmed_at: Date | null;
  readonly destroyed_at: Date | null;
  readonly kept_count: number | null;
  readonly emptied_at: Date | null;
}

export function findTenantDeletion(tx: PlatformTx, tenantId: TenantId): Promise<TenantDeletionRow | undefined> {
  return tx.maybeOne<TenantDeletionRow>(
    `select d.*, a.email as requested_by_email, b.email as confirmed_by_email
       from tenant_deletion d join operator a on a.id = d.requested_by left join operator b on b.id = d.confirmed_by
      where d.tenant_id = $1`,
    [tenantId],
  );
}

export async function insertTenantDeletion(tx: PlatformTx, tenantId: TenantId, by: UserId, holdMs: number): Promise<void> {
  await tx.execute(
    `insert into tenant_deletion (tenant_id, requested_by, hold_until) values ($1, $2, now() + $3 * interval '1 millisecond')
     on conflict (tenant_id) do nothing`,
    [tenantId, by, holdMs],
  );
}

export async function confirmTenantDeletion(tx: PlatformTx, tenantId: TenantId, by: UserId): Promise<void> {
  await tx.execute(`update tenant_deletion set confirmed_by = $2, confirmed_at = now() where tenant_id = $1 and confirmed_at is null`, [
    tenantId,
    by,
  ]);
}

/** False when it is too late. */
export async function withdrawTenantDeletion(tx: PlatformTx, tenantId: TenantId): Promise<boolean> {
  return (
    (await tx.execute(`delete from tenant_deletion where tenant_id = $1 and (confirmed_at is null or hold_until > now())`, [tenantId])) > 0
  );
}

/** Confirmed by a second pair of eyes, held long enough, and not carried out. */
export async function dueTenantDeletions(tx: PlatformTx): Promise<TenantId[]> {
  const rows = await tx.query<{ tenant_id: TenantId }>(
    `select tenant_id from tenant_deletion where confirmed_at is not null and hold_until <= now() and destroyed_at is null`,
  );
  return rows.map(({ tenant_id }) => tenant_id);
}

/** Whose keys are gone and who may have left something. */
export async function dueTenantSweeps(tx: PlatformTx): Promise<TenantId[]> {
  const rows = await tx.query<{ tenant_id: TenantId }>(
    `select tenant_id from tenant_deletion where destroyed_at is not null and emptied_at is null and sweep_due_at <= now()`,
  );
  return rows.map(({ tenant_id }) => tenant_id);
}

export async function recordTenantSweep(
  tx: PlatformTx,
  tenantId: TenantId,
  sweep: { readonly kept: number; readonly isEmpty: boolean; readonly againMs: number },
): Promise<void> {
  await tx.execute(
    `update tenant_deletion set kept_count = $2, emptied_at = case when $3 then now() end, sweep_due_at = now() + $4 * interval '1 millisecond'
      where tenant_id = $1`,
    [tenantId, sweep.kept, sweep.isEmpty, sweep.againMs],
  );
}

export async function postponeTenantSweep(tx: PlatformTx, tenantId: TenantId, byMs: number): Promise<void> {
  await tx.execute(`update tenant_deletion set sweep_due_at = now() + $2 * interval '1 millisecond' where tenant_id = $1`, [
    tenantId,
    byMs,
  ]);
}

/** Answers that are remembered for repeated requests, and events that wait to be told. */
export async function forgetAnswersOfTenant(tx: PlatformTx, tenantId: TenantId): Promise<void> {
  await tx.execute(`delete from idempotency_key where tenant_id = $1`, [tenantId]);
  await tx.execute(`delete from outbox_event where tenant_id = $1`, [tenantId]);
}

export async function markTenantDestroyed(tx: PlatformTx, tenantId: TenantId): Promise<void> {
  await tx.execute(`update tenant_deletion set destroyed_at = now(), sweep_due_at = now() where tenant_id = $1 and destroyed_at is null`, [
    tenantId,
  ]);
  await tx.execute(`update tenant set state = 'deleted' where id = $1`, [tenantId]);
}

export async function setTenantState(tx: PlatformTx, tenantId: TenantId, state: 'active' | 'deleting'): Promise<void> {
  await tx.execute(`update tenant set state = $2 where id = $1`, [tenantId, state]);
}
