import type { AgentId, TenantId } from '#libs/kernel';
import { type Tx, UnitOfWork } from '#libs/platform';
import { AuditLog, auditActorOf, type Actor } from '#libs/tenancy';
import { refusals } from '../domain/errors.js';
import { findAgent, lockIdentity, shutOut, type AgentRow } from '../tables/identities.js';

/**
 * What a later feature does when an agent is shut out for good. List the class among the api's providers and it is found. It runs inside the
 * transaction that revokes.
 */
export abstract class AgentRevokedHook {
  abstract agentRevoked(tx: Tx, agentId: AgentId): Promise<void>;
}

/** Takes an agent's identity for good. Every receiver refuses it and cuts its connections within seconds. Revoking twice is revoking once. */
export class RevokeAgent {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly audit: AuditLog,
    /** Asked for when needed: they stand in modules that are made after this one. */
    private readonly hooks: () => readonly AgentRevokedHook[],
  ) {}

  /** Throws `agent.not-found`. */
  execute(actor: Actor, tenantId: TenantId, agentId: AgentId, reason: string): Promise<AgentRow> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const ref = { role: 'agent', tenantId, id: agentId } as const;
      const row = await lockIdentity(tx, ref);
      if (row === undefined) throw refusals.agentNotFound();
      if (row.state !== 'revoked') {
        await shutOut(tx, ref, row, 'revoked', reason);
        for (const hook of this.hooks()) await hook.agentRevoked(tx, agentId);
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
