import { type CondemnedObject, digestOfSweep, type HeldSweep, type SweepLimits } from '#libs/chain';
import type { ChainId, TenantId, UserId } from '#libs/kernel';
import type { PlatformTx, Tx } from '#libs/platform';

/* How much may be deleted at once, and what is more than that: held, until two operators have said of this very sweep that it may go. */

/** All of what is due, what was approved of it, or nothing. */
export type Judgement =
  | { readonly verdict: 'all' }
  | { readonly verdict: 'approved'; readonly names: ReadonlySet<string> }
  | { readonly verdict: 'held'; readonly sweep: HeldSweep };

/** The chain is locked. Chains of one tenant are judged one after another: what one of them condemned counts for the next. */
export async function judgeSweep(tx: Tx, chainId: ChainId, due: readonly CondemnedObject[], limits: SweepLimits): Promise<Judgement> {
  if (due.length === 0) return { verdict: 'all' };
  await tx.query(`select pg_advisory_xact_lock(hashtextextended('holdfast.sweep.' || $1::text, 0))`, [tx.tenantId]);
  const recent = await tx.one<{ bytes: number; objects: number }>(
    `select coalesce(sum(size_bytes), 0)::bigint as bytes, count(*)::bigint as objects from chain_stray
      where tenant_id = $1 and condemned_at > now() - $2 * interval '1 millisecond'`,
    [tx.tenantId, limits.windowMs],
  );
  const bytes = due.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const areFew = recent.objects + due.length <= limits.objectsMax;
  if (areFew && recent.bytes + bytes <= limits.freeBytes) return { verdict: 'all' };
  const storedBytes = await storedBytesOfTenant(tx);
  if (areFew && recent.bytes + bytes <= limits.bytesShareMax * storedBytes) return { verdict: 'all' };
  const approved = await approvedNames(tx, chainId);
  if (approved !== null) return { verdict: 'approved', names: approved };
  return { verdict: 'held', sweep: await holdSweep(tx, chainId, due, { bytes, storedBytes }) };
}

async function storedBytesOfTenant(tx: Tx): Promise<number> {
  const { bytes } = await tx.one<{ bytes: number }>(
    `select (select coalesce(sum(size_bytes), 0) from chain_segment where tenant_id = $1 and condemned_at is null)::bigint
              + (select coalesce(sum(bytes), 0) from chain_index where tenant_id = $1)::bigint as bytes`,
    [tx.tenantId],
  );
  return bytes;
}

async function approvedNames(tx: Tx, chainId: ChainId): Promise<ReadonlySet<string> | null> {
  const sweep = await tx.maybeOne(`select 1 from chain_sweep where tenant_id = $1 and chain_id = $2 and second_at is not null`, [
    tx.tenantId,
    chainId,
  ]);
  if (sweep === undefined) return null;
  const rows = await tx.query<{ name: string }>(`select name from chain_sweep_object where tenant_id = $1 and chain_id = $2`, [
    tx.tenantId,
    chainId,
  ]);
  return new Set(rows.map(({ name }) => name));
}

interface SweepRow {
  readonly digest: string;
  readonly object_count: number;
  readonly bytes: number;
  readonly stored_bytes: number;
  readonly found_at: Date;
}

/** Notes it in the place of the former one, unless an operator has spoken for that: it stays what was shown. */
async function holdSweep(
  tx: Tx,
  chainId: ChainId,
  due: readonly CondemnedObject[],
  { bytes, storedBytes }: Pick<HeldSweep, 'bytes' | 'storedBytes'>,
): Promise<HeldSweep> {
  const digest = digestOfSweep(due);
  const noted = await tx.execute(
    `insert into chain_sweep (tenant_id, chain_id, digest, object_count, bytes, stored_bytes) values ($1, $2, $3, $4, $5, $6)
     on conflict (tenant_id, chain_id) do update
        set digest = excluded.digest, object_count = excluded.object_count, bytes = excluded.bytes, stored_bytes = excluded.stored_bytes, found_at = now()
      where chain_sweep.first_at is null and chain_sweep.digest <> excluded.digest`,
    [tx.tenantId, chainId, digest, due.length, bytes, storedBytes],
  );
  if (noted > 0) {
    await tx.execute(`delete from chain_sweep_object where tenant_id = $1 and chain_id = $2`, [tx.tenantId, chainId]);
    await tx.execute(`insert into chain_sweep_object (tenant_id, chain_id, name) select $1, $2, name from unnest($3::text[]) name`, [
      tx.tenantId,
      chainId,
      [...new Set(due.map(({ name }) => name))],
    ]);
  }
  return (await findSweep(tx, chainId))!;
}

export async function findSweep(tx: Tx, chainId: ChainId): Promise<HeldSweep | null> {
  const row = await tx.maybeOne<SweepRow>(
    `select digest, object_count, bytes, stored_bytes, found_at from chain_sweep where tenant_id = $1 and chain_id = $2`,
    [tx.tenantId, chainId],
  );
  if (row === undefined) return null;
  const { digest, object_count: objects, bytes, stored_bytes: storedBytes, found_at: foundAt } = row;
  return { digest, objects, bytes, storedBytes, foundAt };
}

/** What was approved is done with, and what is small again needs no word. */
export async function endSweep(tx: Tx, chainId: ChainId): Promise<void> {
  await tx.execute(`delete from chain_sweep where tenant_id = $1 and chain_id = $2`, [tx.tenantId, chainId]);
}

/** A held sweep as the provider's people are shown it. */
export interface SweepStanding extends SweepRow {
  readonly tenant_id: TenantId;
  readonly tenant_name: string;
  readonly chain_id: ChainId;
  readonly vm_name: string;
  readonly first_by: UserId | null;
  readonly first_by_email: string | null;
  readonly first_at: Date | null;
  readonly second_by_email: string | null;
  readonly second_at: Date | null;
}

const STANDING = `
  select s.tenant_id, t.name as tenant_name, s.chain_id, coalesce(v.name, s.chain_id::text) as vm_name, s.digest, s.object_count, s.bytes, s.stored_bytes, s.found_at,
         s.first_by, a.email as first_by_email, s.first_at, b.email as second_by_email, s.second_at
    from chain_sweep s
    join tenant t on t.id = s.tenant_id
    left join replication_relationship r on r.tenant_id = s.tenant_id and r.chain_id = s.chain_id
    left join virtual_machine v on v.tenant_id = r.tenant_id and v.id = r.vm_id
    left join operator a on a.id = s.first_by
    left join operator b on b.id = s.second_by`;

/** Those that wait for longest first. */
export function listSweeps(tx: PlatformTx, limit: number): Promise<SweepStanding[]> {
  return tx.query<SweepStanding>(`${STANDING} order by s.found_at, s.chain_id limit $1`, [limit]);
}

/** Locked against a collection that would find it anew. */
export async function lockSweep(tx: PlatformTx, digest: string): Promise<SweepStanding | undefined> {
  const [sweep] = await tx.query<SweepStanding>(`${STANDING} where s.digest = $1 limit 1 for update of s`, [digest]);
  return sweep;
}

export async function recordApproval(tx: PlatformTx, { tenant_id, chain_id, first_at }: SweepStanding, by: UserId): Promise<void> {
  const which = first_at === null ? 'first' : 'second';
  await tx.execute(
    `update chain_sweep set ${which}_by = $3, ${which}_at = now() where tenant_id = $1 and chain_id = $2 and ${which}_at is null`,
    [tenant_id, chain_id, by],
  );
}
