import type { z } from 'zod';
import type { AuditQuery, auditEventsView } from '#libs/contracts/http';
import { CodedError } from '#libs/kernel';
import type { AuditFilter } from '../tables/audit-events.js';
import type { AuditEventRow } from '../tables/tables.js';
import { toAuditEventView } from './views.js';

/** The cursor is the sequence number of the page before's last event. Throws `request.cursor-malformed`. */
export function toAuditFilter(query: AuditQuery): AuditFilter {
  const { limit, after, action, outcome, since } = query;
  if (after !== undefined && !/^\d{1,15}$/.test(after))
    throw new CodedError('request.cursor-malformed', 'invalid', 'this is not a cursor of this listing');
  return {
    limit,
    before: after === undefined ? null : Number(after),
    actionPrefix: action ?? null,
    outcome: outcome ?? null,
    since: since ?? null,
  };
}

export function toAuditPage(rows: readonly AuditEventRow[], limit: number): z.infer<typeof auditEventsView> {
  const next = rows.length < limit ? null : String(rows.at(-1)!.seq);
  return { items: rows.map(toAuditEventView), next };
}
