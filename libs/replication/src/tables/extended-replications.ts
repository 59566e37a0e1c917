import { type CarryStanding, type ChainAddress, cycleToHex } from '#libs/chain';
import { asId, type ChainId, CodedError, type ErrorKind, type RelationshipId, type TenantId } from '#libs/kernel';
import type { PlatformTx, RowOf, Tx } from '#libs/platform';
import { cycleOf } from './manifest-ref.js';
import { extendedReplicationTable } from './upkeep-tables.js';

export type ExtendedReplicationRow = RowOf<typeof extendedReplicationTable>;

/** With what stands beside it of the chain, all by the database's time. */
export interface ExtendedStanding extends ExtendedReplicationRow {
  readonly vm_name: string;
  readonly now: Date;
  /** Of the newest recovery point that was carried. */
  readonly last_instant: Date | null;
  readonly last_committed_at: Date | null;
  /** Of the oldest that was not. */
  readonly behind_since: Date | null;
}

/** Turned on, or changed. Another site begins anew, since nothing is known of it. */
export async function putExtendedReplication(
  tx: Tx,
  wish: { readonly relationshipId: RelationshipId; readonly chainId: ChainId; readonly site: string; readonly frequencySeconds: number },
): Promise<void> {
  await tx.execute(
    `insert into extended_replication as e (tenant_id, chain_id, relationship_id, site, frequency_seconds) values ($1, $2, $3, $4, $5)
     on conflict (tenant_id, chain_id) do update
        set relationship_id = excluded.relationship_id, site = excluded.site, frequency_seconds = excluded.frequency_seconds,
            suspended_at = null, due_at = now(), worker = null, worker_until = null, failing_since = null, failure_kind = null,
            failure_code = null, failure_message = null,
            carried_cycle = case when e.site = excluded.site then e.carried_cycle end,
            looked_at = case when e.site = excluded.site then e.looked_at end,
            initial_at = case when e.site = excluded.site then e.initial_at end,
            whole_at = case when e.site = excluded.site then e.whole_at end,
            carried_objects = case when e.site = excluded.site then e.carried_objects else 0 end,
            carried_bytes = case when e.site = excluded.site then e.carried_bytes else 0 end`,
    [tx.tenantId, wish.chainId, wish.relationshipId, wish.site, wish.frequencySeconds],
  );
}

/** Of one relationship, or all of the tenant. */
export function listExtendedReplications(tx: Tx, relationshipId: RelationshipId | null): Promise<ExtendedStanding[]> {
  return tx.query<ExtendedStanding>(
    `select e.*, v.name as vm_name, now() as now, last.instant as last_instant, last.committed_at as last_committed_at,
            (select min(p.committed_at) from recovery_point p join chain_manifest m on m.tenant_id = p.tenant_id and m.id = p.id
              where p.tenant_id = e.tenant_id and p.chain_id = e.chain_id and m.cycle > coalesce(e.carried_cycle, '')) as behind_since
       from extended_replication e
       join replication_relationship r on r.tenant_id = e.tenant_id and r.id = e.relationship_id and r.removed_at is null
       join virtual_machine v on v.tenant_id = r.tenant_id and v.id = r.vm_id
       left join lateral (select m.instant, m.committed_at from chain_manifest m
                           where m.tenant_id = e.tenant_id and m.chain_id = e.chain_id and m.kind = 'point' and m.cycle <= e.carried_cycle
                           order by m.cycle desc limit 1) last on true
      where e.tenant_id = $1 and ($2::uuid is null or e.relationship_id = $2) order by v.name, e.chain_id`,
    [tx.tenantId, relationshipId],
  );
}

export async function getExtendedReplication(tx: Tx, relationshipId: RelationshipId): Promise<ExtendedStanding> {
  const [row] = await listExtendedReplications(tx, relationshipId);
  if (row === undefined) throw new CodedError('extended.not-found', 'not-found', 'this VM has no extended replication');
  return row;
}

export async function setSuspended(tx: Tx, relationshipId: RelationshipId, isSuspended: boolean): Promise<void> {
  await tx.execute(
    `update extended_replication set suspended_at = case when $3 then coalesce(suspended_at, now()) end, due_at = now()
      where tenant_id = $1 and relationship_id = $2`,
    [tx.tenantId, relationshipId, isSuspended],
  );
}

export async function deleteExtendedReplication(tx: Tx, relationshipId: RelationshipId): Promise<void> {
  await tx.execute(`delete from extended_replication where tenant_id = $1 and relationship_id = $2`, [tx.tenantId, relationshipId]);
}

/** Chains whose turn it is and that no worker is at, those that wait longest first: so a large one keeps no small one waiting. */
export async function listDueToCarry(tx: PlatformTx, limit: number): Promise<ChainAddress[]> {
  const rows = await tx.query<{ tenant_id: string; chain_id: string }>(
    `select e.tenant_id, e.chain_id from extended_replication e
       join replication_relationship r on r.tenant_id = e.tenant_id and r.id = e.relationship_id and r.removed_at is null
       join tenant t on t.id = e.tenant_id and t.state = 'active'
      where e.suspended_at is null and e.due_at <= now() and (e.worker_until is null or e.worker_until < now())
      order by e.due_at, e.chain_id limit $1`,
    [limit],
  );
  return rows.map((row) => ({ tenantId: asId<TenantId>(row.tenant_id), chainId: asId<ChainId>(row.chain_id) }));
}

export interface CarryTurn {
  readonly site: string;
  /** Null: all is to be looked at. */
  readonly carriedTo: bigint | null;
}

/** Takes or keeps the turn; undefined when another worker has it, or nobody wants it carried any more. */
export async function takeCarryTurn(
  tx: Tx,
  chainId: ChainId,
  worker: string,
  { turnMs, lookEveryMs }: { readonly turnMs: number; readonly lookEveryMs: number },
): Promise<CarryTurn | undefined> {
  const row = await tx.maybeOne<{ site: string; carried_cycle: string | null; is_looked_at: boolean }>(
    `update extended_replication set worker = $3, worker_until = now() + $4 * interval '1 millisecond'
      where tenant_id = $1 and chain_id = $2 and suspended_at is null and (worker = $3 or worker_until is null or worker_until < now())
     returning site, carried_cycle, coalesce(looked_at > now() - $5 * interval '1 millisecond', false) as is_looked_at`,
    [tx.tenantId, chainId, worker, turnMs, lookEveryMs],
  );
  if (row === undefined) return undefined;
  return { site: row.site, carriedTo: row.is_looked_at && row.carried_cycle !== null ? cycleOf(row.carried_cycle) : null };
}

export interface CarryEnd {
  /** As far as anybody knows; undefined when the turn broke off before it could look. */
  readonly standing: CarryStanding | undefined;
  readonly hasLooked: boolean;
  readonly isDone: boolean;
  readonly failure: { readonly kind: ErrorKind; readonly code: string; readonly message: string } | null;
  readonly retryMs: number;
}

/** Also of a turn that was taken away meanwhile nothing is said that does not hold: what it carried is there. Only of another site it knows nothing. */
export async function endCarryTurn(tx: Tx, chainId: ChainId, worker: string, { site }: CarryTurn, end: CarryEnd): Promise<void> {
  const { standing, failure } = end;
  await tx.execute(
    `update extended_replication
        set worker = null, worker_until = null,
            -- With what cannot be mended all is looked at again, but no more often than new points come.
            due_at = case when $5 or $17 then now() + frequency_seconds * interval '1 second' else now() + $6 * interval '1 millisecond' end,
            initial_at = case when $5 then coalesce(initial_at, now()) else initial_at end,
            whole_at = case when $5 then now() else whole_at end,
            looked_at = case when $5 and $7 then now() else looked_at end,
            carried_cycle = case when $8 then $9 else carried_cycle end,
            pending_manifests = coalesce($10, pending_manifests), pending_bytes = coalesce($11, pending_bytes),
            carried_objects = carried_objects + $12, carried_bytes = carried_bytes + $13,
            failing_since = case when $14::text is null then null else coalesce(failing_since, now()) end,
            failure_kind = $15, failure_code = $14, failure_message = $16
      where tenant_id = $1 and chain_id = $2 and worker = $3 and site = $4`,
    [
      tx.tenantId,
      chainId,
      worker,
      site,
      end.isDone,
      end.retryMs,
      end.hasLooked,
      standing !== undefined,
      standing?.carriedTo ? cycleToHex(standing.carriedTo.cycle) : null,
      standing?.pendingManifests ?? null,
      standing?.pendingBytes ?? null,
      standing?.carriedObjects ?? 0,
      standing?.carriedBytes ?? 0,
      failure?.code ?? null,
      failure?.kind ?? null,
      failure?.message ?? null,
      standing?.isThrough ?? false,
    ],
  );
}

/** The site that has a copy of this chain, where there is one. */
export async function siteOfCopy(tx: Tx, chainId: ChainId): Promise<string | undefined> {
  const row = await tx.maybeOne<{ site: string }>(
    `select site from extended_replication where tenant_id = $1 and chain_id = $2 and carried_cycle is not null`,
    [tx.tenantId, chainId],
  );
  return row?.site;
}
