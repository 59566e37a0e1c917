import { createHash } from 'node:crypto';

/** What an audit event says; `hash` binds it to everything before it. */
export interface AuditRecord {
  readonly tenantId: string | null;
  readonly seq: number;
  readonly at: Date;
  readonly actorKind: string;
  readonly actorId: string | null;
  readonly actorName: string;
  readonly action: string;
  readonly subjectKind: string | null;
  readonly subjectId: string | null;
  readonly outcome: 'done' | 'refused';
  readonly details: unknown;
  readonly requestId: string | null;
}

/** What the first event of a chain follows. */
export const CHAIN_START = Buffer.alloc(32);

/** The hash of an event and its predecessor's hash: an edit, a deletion or a new order breaks every later link. */
export function auditHash(record: AuditRecord, previous: Uint8Array): Buffer {
  const { tenantId, seq, at, actorKind, actorId, actorName, action, subjectKind, subjectId, outcome, details, requestId } = record;
  const fields = [
    tenantId,
    seq,
    at.toISOString(),
    actorKind,
    actorId,
    actorName,
    action,
    subjectKind,
    subjectId,
    outcome,
    sorted(details),
    requestId,
  ];
  return createHash('sha256').update(previous).update(JSON.stringify(fields)).digest();
}

/** `jsonb` does not keep the order of keys, so the hash must not depend on it. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, inner]) => [key, sorted(inner)] as const);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}
