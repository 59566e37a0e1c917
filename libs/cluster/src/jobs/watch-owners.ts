import { SECOND_MS } from '#libs/kernel';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { markSilentOwners } from '../tables/ownerships.js';

/**
 * Raises the alarm when a replica node falls silent while it owns replicas: marks them, and tells the provider's people in log and audit
 * log. Nothing is taken from the node: whether it died or only the way to it did, its VMs may still run. Its people bring it back or,
 * when it is gone for good, revoke it.
 */
export class WatchOwners extends Reconciler {
  readonly name = 'cluster.watch-owners';
  readonly intervalMs = 5 * SECOND_MS;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly audit: AuditLog,
  ) {
    super();
  }

  async run({ logger }: Pick<ReconcilerContext, 'logger'>): Promise<void> {
    await this.platform.run(async (tx) => {
      for (const { replicaNodeId, fqdn, failoverIds } of await markSilentOwners(tx)) {
        logger.error({ replicaNodeId, fqdn, failoverIds }, 'a replica node that owns replicas has fallen silent');
        await this.audit.append(tx, {
          actor: { kind: 'system', id: null, name: this.name },
          action: 'replica-node.fell-silent',
          subject: { kind: 'replica-node', id: replicaNodeId },
          details: { fqdn, failoverIds },
        });
      }
    });
  }
}
