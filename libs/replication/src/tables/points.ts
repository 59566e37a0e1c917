import { type ChainId, CodedError, type RecoveryPointId, type RelationshipId } from '#libs/kernel';
import type { PlatformTx, RowOf, Tx } from '#libs/platform';
import type { PointHold, RetentionPoint } from '../domain/retention.js';
import { cycleOf } from './manifest-ref.js';
import type { chainManifestTable, recoveryPointTable } from './tables.js';

/*
 * Rows of recovery points. Whoever begins to use a point takes a share of its row's lock in the same transaction ({@link holdPoint}); whoever
 * removes points locks relationship, chain and then those rows, and looks at what holds them only then.
 */

export type PointRow = RowOf<typeof recoveryPointTable> &
  Pick<RowOf<typeof chainManifestTable>, 'branch_id' | 'sequence' | 'cycle' | 'instant' | 'consistency'>;

/** With the promise that the policy of this moment makes. */
export async function insertPoint(
  tx: Tx,
  point: { readonly id: string; readonly chain_id: string; readonly committed_at: Date },
): Promise<void> {
  await tx.execute(
    `insert into recovery_point (id, tenant_id, chain_id, committed_at, immutable_until)
     values ($1, $2, $3, $4,
       (select $4::timestamptz + (policy #>> '{retention,immutableHours}')::int * interval '1 hour' from replication_relationship
         where tenant_id = $2 and chain_id = $3 and (policy #>> '{retention,immutableHours}')::int > 0))`,
    [point.id, tx.tenantId, point.chain_id, point.committed_at],
  );
}

/** A longer promise is made for the points there are too; a shorter one is for those to come. */
export async function extendImmutability(tx: Tx, chainId: string, hours: number): Promise<void> {
  if (hours === 0) return;
  await tx.execute(
    `update recovery_point set immutable_until = committed_at + $3 * interval '1 hour'
      where tenant_id = $1 and chain_id = $2 and (immutable_until is null or immutable_until < committed_at + $3 * interval '1 hour')`,
    [tx.tenantId, chainId, hours],
  );
}

/** Takes a share of the point's row until the transaction ends, so that it is not removed meanwhile. `point.not-found`. */
export async function holdPoint(tx: Tx, id: string): Promise<void> {
  const rows = await tx.query(`select 1 from recovery_point where tenant_id = $1 and id = $2 for share`, [tx.tenantId, id]);
  if (rows.length === 0) throw new CodedError('point.not-found', 'not-found', 'there is no such recovery point');
}

export async function findPointRelationship(tx: Tx, id: RecoveryPointId): Promise<{ id: RelationshipId; chain_id: string }> {
  const row = await tx.maybeOne<{ id: RelationshipId; chain_id: string }>(
    `select r.id, r.chain_id from recovery_point p
       join replication_relationship r on r.tenant_id = p.tenant_id and r.chain_id = p.chain_id
      where p.tenant_id = $1 and p.id = $2`,
    [tx.tenantId, id],
  );
  if (row === undefined) throw new CodedError('point.not-found', 'not-found', 'there is no such recovery point');
  return row;
}

/** All of a chain, in the order of commits. */
export function listPoints(tx: Tx, chainId: string): Promise<PointRow[]> {
  return tx.query<PointRow>(
    `select p.*, m.branch_id, m.sequence, m.cycle, m.instant, m.consistency
       from recovery_point p join chain_manifest m on m.tenant_id = p.tenant_id and m.id = p.id
      where p.tenant_id = $1 and p.chain_id = $2 order by m.cycle`,
    [tx.tenantId, chainId],
  );
}

/** Newest first, from before a cycle on; null begins with the newest. */
export function listPointsBefore(tx: Tx, chainId: string, beforeHex: string | null, limit: number): Promise<PointRow[]> {
  return tx.query<PointRow>(
    `select p.*, m.branch_id, m.sequence, m.cycle, m.instant, m.consistency
       from recovery_point p join chain_manifest m on m.tenant_id = p.tenant_id and m.id = p.id
      where p.tenant_id = $1 and p.chain_id = $2 and ($3::text is null or m.cycle < $3) order by m.cycle desc limit $4`,
    [tx.tenantId, chainId, beforeHex, limit],
  );
}

/** What holds points of a chain beside the policy, by the point's id. */
export async function listHolds(tx: Tx, chainId: string): Promise<ReadonlyMap<string, readonly PointHold[]>> {
  const rows = await tx.query<{ id: string; hold: PointHold }>(
    `select m.id, 'branch' as hold from replica_chain c
       join chain_branch b on b.tenant_id = c.tenant_id and b.id = c.branch_id
       join chain_manifest m on m.tenant_id = b.tenant_id and m.cycle = b.frozen_cycle
      where c.tenant_id = $1 and c.id = $2
     union
     select f.recovery_point_id, 'failover' from failover f
       join replication_relationship r on r.tenant_id = f.tenant_id and r.id = f.relationship_id
      where f.tenant_id = $1 and r.chain_id = $2 and f.state in ('Queued', 'InProgress', 'Running', 'Completed', 'Cancelling')
     union
     select m.id, 'lease' from chain_lease l join chain_manifest m on m.tenant_id = l.tenant_id and m.cycle = l.cycle
      where l.tenant_id = $1 and l.chain_id = $2 and (l.expires_at is null or l.expires_at > now())
     union
     select used.id, 'export' from point_export e
       left join point_export base on base.tenant_id = e.tenant_id and base.id = e.base_export_id
      cross join lateral (values (e.recovery_point_id), (base.recovery_point_id)) used (id)
       join recovery_point p on p.tenant_id = e.tenant_id and p.id = used.id
      where e.tenant_id = $1 and p.chain_id = $2 and e.state in ('Queued', 'InProgress')`,
    [tx.tenantId, chainId],
  );
  const holds = new Map<string, PointHold[]>();
  for (const { id, hold } of rows) holds.set(id, [...(holds.get(id) ?? []), hold]);
  return holds;
}

export function toRetentionPoint(
  row: PointRow,
  holds: ReadonlyMap<string, readonly PointHold[]>,
): RetentionPoint & { readonly row: PointRow } {
  return {
    id: row.id,
    branchId: row.branch_id,
    cycle: cycleOf(row.cycle),
    committedAt: row.committed_at,
    consistency: row.consistency,
    immutableUntil: row.immutable_until,
    isPinned: row.pinned_at !== null,
    holds: holds.get(row.id) ?? [],
    row,
  };
}

/** Keeps whoever wants to use or pin these points waiting until the transaction ends. */
export async function lockPoints(tx: Tx, ids: readonly string[]): Promise<void> {
  await tx.query(`select id from recovery_point where tenant_id = $1 and id = any($2::uuid[]) order by id for update`, [tx.tenantId, ids]);
}

/** Removes those of the given rows that are neither pinned nor promised, and says which those were. Their manifests stay. */
export async function deletePoints(tx: Tx, ids: readonly string[]): Promise<string[]> {
  const rows = await tx.query<{ id: string }>(
    `delete from recovery_point
      where tenant_id = $1 and id = any($2::uuid[]) and pinned_at is null and (immutable_until is null or immutable_until <= now()) returning id`,
    [tx.tenantId, ids],
  );
  return rows.map(({ id }) => id);
}

/** Null takes the pin away. A second pin replaces the note and keeps the time of the first. */
export async function setPin(tx: Tx, id: string, note: string | null): Promise<void> {
  await tx.execute(
    `update recovery_point set pinned_at = case when $3::text is null then null else coalesce(pinned_at, now()) end, pin_note = $3
      where tenant_id = $1 and id = $2`,
    [tx.tenantId, id, note],
  );
}

/** How many points were committed to a chain within the last hour, removed ones too; counted no further than `most`. */
export async function countRecentPoints(tx: Tx, chainId: ChainId, most: number): Promise<number> {
  const { recent } = await tx.one<{ recent: number }>(
    `select count(*)::int as recent from (
       select 1 from chain_manifest where tenant_id = $1 and chain_id = $2 and committed_at > now() - interval '1 hour' and kind = 'point' limit $3) counted`,
    [tx.tenantId, chainId, most],
  );
  return recent;
}

/** The time that retention goes by. */
export async function serverNow(tx: Tx): Promise<Date> {
  return (await tx.one<{ now: Date }>(`select now() as now`)).now;
}

export async function recordApplied(tx: Tx, chainId: string, removed: number): Promise<void> {
  await tx.execute(
    `insert into chain_retention (tenant_id, chain_id, applied_at, removed_points) values ($1, $2, now(), $3)
     on conflict (tenant_id, chain_id) do update set applied_at = now(), removed_points = chain_retention.removed_points + $3`,
    [tx.tenantId, chainId, removed],
  );
}

/** The policy is new: it is applied as soon as a worker comes by. */
export async function forgetApplied(tx: Tx, chainId: string): Promise<void> {
  await tx.execute(`update chain_retention set applied_at = null where tenant_id = $1 and chain_id = $2`, [tx.tenantId, chainId]);
}

export interface RetentionIntervals {
  /** How soon after the last time, where points came since. */
  readonly busyMs: number;
  /** How soon where none came: minimum ages and promises end by themselves. */
  readonly idleMs: number;
}

/** Relationships whose policy is to be applied, those that wait longest first; none while this database may lack what is newer. */
export function listDueForRetention(
  tx: PlatformTx,
  { busyMs, idleMs }: RetentionIntervals,
  limit: number,
): Promise<{ readonly id: RelationshipId; readonly tenant_id: string }[]> {
  return tx.query(
    `select r.id, r.tenant_id from replication_relationship r
       left join chain_retention c on c.tenant_id = r.tenant_id and c.chain_id = r.chain_id
      where r.removed_at is null and (select withheld is null from installation)
        -- Who writes a chain says what is kept of it.
        and not exists (select 1 from followed_chain f where f.tenant_id = r.tenant_id and f.chain_id = r.chain_id)
        and (c.applied_at is null
             or c.applied_at < now() - $2 * interval '1 millisecond'
             or (c.applied_at < now() - $1 * interval '1 millisecond'
                 and exists (select 1 from recovery_point p where p.tenant_id = r.tenant_id and p.chain_id = r.chain_id and p.committed_at > c.applied_at)))
      order by c.applied_at nulls first limit $3`,
    [busyMs, idleMs, limit],
  );
}
