import type { FastifyRequest } from 'fastify';
import { MINUTE_MS, type Clock, type ErrorKind, type Logger, type PlatformError } from '#libs/kernel';
import { AuditLog } from '#libs/tenancy';
import type { IdentityRef } from '../domain/peer.js';
import { IdentityTransactions } from '../tables/identity-transactions.js';

/** Refusals that say something about the peer; an overloaded server or a malformed request says nothing. */
const AUDITED: ReadonlySet<ErrorKind> = new Set<ErrorKind>(['unauthenticated', 'forbidden', 'not-found']);
const REMEMBERED_MAX = 10_000;

/**
 * Writes into the audit log what a peer was refused: in the log of its own tenant, or the provider's for a replica node. The
 * same refusal of the same peer once a minute, so that nobody can flood a log.
 */
export class RefusalLog {
  private readonly notedAtMs = new Map<string, number>();

  constructor(
    private readonly identities: IdentityTransactions,
    private readonly audit: AuditLog,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  async note(ref: IdentityRef, error: PlatformError, request: FastifyRequest): Promise<void> {
    if (!AUDITED.has(error.kind) || !this.isDue(`${ref.id} ${error.code}`)) return;
    const entry = {
      actor: { kind: ref.role, id: ref.id, name: ref.id },
      action: 'peer.refused',
      subject: { kind: ref.role, id: ref.id },
      outcome: 'refused' as const,
      details: { code: error.code, method: request.method, route: request.routeOptions.url ?? 'none', remoteAddress: request.ip },
      requestId: request.id,
    };
    try {
      await this.identities.run(ref, (tx) => this.audit.append(tx, entry));
    } catch (failure) {
      this.logger.warn({ error: failure, refusal: entry }, 'a refusal could not be written into the audit log');
    }
  }

  private isDue(key: string): boolean {
    const nowMs = this.clock.monotonicMs();
    const lastMs = this.notedAtMs.get(key);
    if (lastMs !== undefined && nowMs - lastMs < MINUTE_MS) return false;
    this.notedAtMs.delete(key);
    this.notedAtMs.set(key, nowMs);
    if (this.notedAtMs.size > REMEMBERED_MAX) this.notedAtMs.delete(this.notedAtMs.keys().next().value!);
    return true;
  }
}
