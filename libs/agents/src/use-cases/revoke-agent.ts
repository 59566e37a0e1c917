import type { AgentId, TenantId } from '#libs/kernel';
import { UnitOfWork } from '#libs/platform';
import { AuditLog, auditActorOf, type Actor } from '#libs/tenancy';
import { refusals } from '../domain/errors.js';
import { findAgent, lockIdentity, shutOut, type AgentRow } from '../tables/identities.js';

/** Takes an agent's identity for good. Every receiver refuses it and cuts its connections within seconds. Revoking twice is revoking once. */
export class RevokeAgent {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly audit: AuditLog,
  ) {}

  /** Throws `agent.not-found`. */
  execute(actor: Actor, tenantId: TenantId, agentId: AgentId, reason: string): Promise<AgentRow> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const ref = { role: 'agent', tenantId, id: agentId } as const;
      const row = await lockIdentity(tx, ref);
      if (row === undefined) throw refusals.agentNotFound();
      if (row.state !== 'revoked') {
        await shutOut(tx, ref, row, 'revoked', reason);
        await this.audit.append(tx, {
          actor: auditActorOf(actor),
          action: 'agent.revoked',
          subject: { kind: 'agent', id: agentId },
          details: { fqdn: row.fqdn, reason },
        });
      }
      const revoked = await findAgent(tx, agentId);
      if (revoked === undefined) throw refusals.agentNotFound();
      return revoked;
    });
  }
}
