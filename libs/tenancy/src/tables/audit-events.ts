import { newId, type TenantId } from '#libs/kernel';
import type { AnyTx } from '#libs/platform';
import type { AuditRecord } from '../domain/audit-chain.js';
import { type AuditEventRow, auditEventTable } from './tables.js';

/** Locks the end of a chain until the transaction ends, and says where it is and what time it is there. */
export async function lockChainEnd(tx: AnyTx, tenantId: TenantId | null): Promise<{ seq: number; hash: Buffer | null; now: Date }> {
  await tx.query(`select pg_advisory_xact_lock(hashtextextended('holdfast.audit.' || coalesce($1::text, 'provider'), 0))`, [tenantId]);
  // A statement of its own: it must see what the holder of the lock before us committed.
  return tx.one(
    `select coalesce(last.seq, 0) as seq, last.hash, date_trunc('milliseconds', clock_timestamp()) as now
       from (select 1) as one
       left join lateral (select seq, hash from audit_event where tenant_id is not distinct from $1 order by seq desc limit 1) as last on true`,
    [tenantId],
  );
}

export async function insertAuditEvent(tx: AnyTx, record: AuditRecord, previous: Buffer, hash: Buffer): Promise<void> {
  await tx.execute(
    `insert into audit_event (id, tenant_id, seq, at, actor_kind, actor_id, actor_name, action, subject_kind, subject_id, outcome, details,
                              request_id, prev_hash, hash)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
    [
      newId(),
      record.tenantId,
      record.seq,
      record.at,
      record.actorKind,
      record.actorId,
      record.actorName,
      record.action,
      record.subjectKind,
      record.subjectId,
      record.outcome,
      JSON.stringify(record.details),
      record.requestId,
      previous,
      hash,
    ],
  );
}

/** Whether a chain has an entry of the same deed on the same subject by the same actor, that says the same and is not older than this. */
export async function hasEqualEvent(
  tx: AnyTx,
  event: Pick<AuditRecord, 'tenantId' | 'actorKind' | 'actorId' | 'action' | 'subjectId' | 'details'>,
  withinMs: number,
): Promise<boolean> {
  const rows = await tx.query(
    `select 1 from audit_event
      where tenant_id is not distinct from $1 and subject_id is not distinct from $2 and action = $3 and actor_kind = $4
        and actor_id is not distinct from $5 and details = $6 and at > clock_timestamp() - $7 * interval '1 millisecond' limit 1`,
    [event.tenantId, event.subjectId, event.action, event.actorKind, event.actorId, JSON.stringify(event.details), withinMs],
  );
  return rows.length > 0;
}

export interface AuditFilter {
  readonly limit: number;
  /** The sequence number of the page before's last. */
  readonly before: number | null;
  readonly actionPrefix: string | null;
  readonly outcome: 'done' | 'refused' | null;
  readonly since: string | null;
}

/** One chain's events, the newest first. */
export function listAuditEvents(tx: AnyTx, tenantId: TenantId | null, filter: AuditFilter): Promise<AuditEventRow[]> {
  return tx.query<AuditEventRow>(
    `select ${auditEventTable.list} from audit_event
      where tenant_id is not distinct from $1 and ($3::bigint is null or seq < $3) and ($4::text is null or starts_with(action, $4))
        and ($5::text is null or outcome = $5) and ($6::timestamptz is null or at >= $6)
      order by seq desc limit $2`,
    [tenantId, filter.limit, filter.before, filter.actionPrefix, filter.outcome, filter.since],
  );
}

/** A stretch of one chain in its order, for checking it. */
export function readChain(tx: AnyTx, tenantId: TenantId | null, afterSeq: number, limit: number): Promise<AuditEventRow[]> {
  return tx.query<AuditEventRow>(
    `select ${auditEventTable.list} from audit_event where tenant_id is not distinct from $1 and seq > $2 order by seq limit $3`,
    [tenantId, afterSeq, limit],
  );
}
