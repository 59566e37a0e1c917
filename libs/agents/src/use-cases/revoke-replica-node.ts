import type { ReplicaNodeId } from '#libs/kernel';
import { PlatformUnitOfWork } from '#libs/platform';
import { AuditLog, auditActorOf, type Actor } from '#libs/tenancy';
import { refusals } from '../domain/errors.js';
import { lockIdentity, shutOut } from '../tables/identities.js';

/**
 * Takes a replica node's identity for good, as of an agent: nothing is placed on it or granted to it again, and whoever waits for a word of
 * it stops waiting. It is the operator's word that nothing runs there any more. Revoking twice is revoking once.
 */
export class RevokeReplicaNode {
  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly audit: AuditLog,
  ) {}

  /** Throws `replica-node.not-found`. */
  async execute(actor: Actor, id: ReplicaNodeId, reason: string): Promise<void> {
    await this.platform.run(async (tx) => {
      const ref = { role: 'replica-node', tenantId: null, id } as const;
      const row = await lockIdentity(tx, ref);
      if (row === undefined) throw refusals.replicaNodeNotFound();
      if (row.state === 'revoked') return;
      await shutOut(tx, ref, row, 'revoked', reason);
      await this.audit.append(tx, {
        actor: auditActorOf(actor),
        action: 'replica-node.revoked',
        subject: { kind: 'replica-node', id },
        details: { fqdn: row.fqdn, reason },
      });
    });
  }
}
