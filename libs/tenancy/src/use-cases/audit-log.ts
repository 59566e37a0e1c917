import type { TenantId } from '#libs/kernel';
import type { AnyTx } from '#libs/platform';
import type { Actor } from '../domain/actor.js';
import { auditHash, CHAIN_START } from '../domain/audit-chain.js';
import { hasEqualEvent, insertAuditEvent, lockChainEnd, readChain } from '../tables/audit-events.js';

export interface AuditActor {
  readonly kind: 'user' | 'operator' | 'agent' | 'replica-node' | 'system' | 'anonymous';
  readonly id: string | null;
  /** What people know them by: an address, a host name. */
  readonly name: string;
}

export interface AuditEntry {
  readonly actor: AuditActor;
  /** `<thing>.<past participle>`: `agent.revoked`, `segment.refused`. */
  readonly action: string;
  readonly subject?: { readonly kind: string; readonly id: string };
  /** Default `done`. */
  readonly outcome?: 'done' | 'refused';
  /** Ids, names, codes; never secrets, never content. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly requestId?: string;
}

const PAGE = 1_000;

/**
 * Who did what, and who was refused what. One chain of hashes for each tenant and one for the provider; no role of the
 * platform may change or delete an event.
 */
export class AuditLog {
  /**
   * Adds to the tenant's chain in a tenant transaction, to the provider's in a platform one unless `tenantId` is given.
   * The end of the chain stays locked until the transaction ends: let it be the transaction's last statement.
   */
  async append(tx: AnyTx, entry: AuditEntry, tenantId: TenantId | null = tx.kind === 'tenant' ? tx.tenantId : null): Promise<void> {
    const end = await lockChainEnd(tx, tenantId);
    const previous = end.hash ?? CHAIN_START;
    const record = {
      tenantId,
      seq: end.seq + 1,
      at: end.now,
      actorKind: entry.actor.kind,
      actorId: entry.actor.id,
      actorName: entry.actor.name,
      action: entry.action,
      subjectKind: entry.subject?.kind ?? null,
      subjectId: entry.subject?.id ?? null,
      outcome: entry.outcome ?? ('done' as const),
      details: entry.details ?? {},
      requestId: entry.requestId ?? null,
    };
    await insertAuditEvent(tx, record, previous, auditHash(record, previous));
  }

  /** As {@link append}, unless an equal entry is younger than `withinMs`: for what repeats by itself, or as often as somebody likes. */
  async appendOnce(tx: AnyTx, entry: AuditEntry, withinMs: number): Promise<void> {
    const tenantId = tx.kind === 'tenant' ? tx.tenantId : null;
    await lockChainEnd(tx, tenantId);
    const isKnown = await hasEqualEvent(
      tx,
      {
        tenantId,
        actorKind: entry.actor.kind,
        actorId: entry.actor.id,
        action: entry.action,
        subjectId: entry.subject?.id ?? null,
        details: entry.details ?? {},
      },
      withinMs,
    );
    if (!isKnown) await this.append(tx, entry);
  }

  /** Reads a whole chain again. `brokenAt` is the first sequence number whose link does not hold, or null. A cut tail needs an anchor outside. */
  async verify(tx: AnyTx, tenantId: TenantId | null): Promise<{ readonly checked: number; readonly brokenAt: number | null }> {
    let checked = 0;
    let previous: Buffer = CHAIN_START;
    for (;;) {
      const rows = await readChain(tx, tenantId, checked, PAGE);
      for (const row of rows) {
        const record = {
          tenantId: row.tenant_id,
          seq: row.seq,
          at: row.at,
          actorKind: row.actor_kind,
          actorId: row.actor_id,
          actorName: row.actor_name,
          action: row.action,
          subjectKind: row.subject_kind,
          subjectId: row.subject_id,
          outcome: row.outcome,
          details: row.details,
          requestId: row.request_id,
        };
        const isWhole = row.seq === checked + 1 && row.prev_hash.equals(previous) && row.hash.equals(auditHash(record, previous));
        if (!isWhole) return { checked, brokenAt: checked + 1 };
        checked += 1;
        previous = row.hash;
      }
      if (rows.length < PAGE) return { checked, brokenAt: null };
    }
  }
}

export function auditActorOf(actor: Actor): AuditActor {
  return { kind: actor.kind, id: actor.id, name: actor.email };
}
