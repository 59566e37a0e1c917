import type { z } from 'zod';
import type { extendReplication, ExtendedReplicationView, ThirdSiteView } from '#libs/contracts/http';
import { asId, type ChainId, CodedError, type RelationshipId, type TenantId } from '#libs/kernel';
import { type Tx, UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { extendedHealthOf, extendedStateOf } from '../domain/extended-health.js';
import {
  deleteExtendedReplication,
  type ExtendedStanding,
  getExtendedReplication,
  listExtendedReplications,
  putExtendedReplication,
  setSuspended,
} from '../tables/extended-replications.js';
import { getRelationship } from '../tables/relationships.js';
import { ThirdSites } from '../third-sites.js';

/** Extended replication as people turn it on, look at it and turn it off. What was carried stays at the third site, whatever happens here. */
export class ExtendReplication {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly sites: ThirdSites,
    private readonly auditLog: AuditLog,
  ) {}

  thirdSites(): ThirdSiteView[] {
    return this.sites.names.map((name) => ({ name }));
  }

  list(tenantId: TenantId): Promise<ExtendedReplicationView[]> {
    return this.unitOfWork.run(tenantId, async (tx) => (await listExtendedReplications(tx, null)).map(toExtendedView));
  }

  get(tenantId: TenantId, id: RelationshipId): Promise<ExtendedReplicationView> {
    return this.unitOfWork.run(tenantId, (tx) => viewOf(tx, id));
  }

  /** Enable-VMReplication on the replica. `third-site.unknown`, `extended.too-frequent`. */
  extend(tenantId: TenantId, actor: Actor, id: RelationshipId, wish: z.infer<typeof extendReplication>): Promise<ExtendedReplicationView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const { chain_id: chainId, policy } = await getRelationship(tx, id, { lock: true });
      const { site, frequencySeconds } = wish;
      if (!this.sites.names.includes(site))
        throw new CodedError('third-site.unknown', 'invalid', `there is no third site ${site}`, { known: this.sites.names });
      if (frequencySeconds < policy.frequencySeconds)
        throw new CodedError(
          'extended.too-frequent',
          'invalid',
          `the VM is replicated every ${policy.frequencySeconds} s: it cannot be carried on more often`,
          { frequencySeconds: policy.frequencySeconds },
        );
      await putExtendedReplication(tx, { relationshipId: id, chainId: asId<ChainId>(chainId), site, frequencySeconds });
      await this.#append(tx, actor, 'extended-replication.enabled', id, { site, frequencySeconds });
      return viewOf(tx, id);
    });
  }

  /** Suspend-VMReplication of the extended relationship: what is being carried ends, nothing more begins. */
  suspend(tenantId: TenantId, actor: Actor, id: RelationshipId): Promise<ExtendedReplicationView> {
    return this.#change(tenantId, actor, id, 'extended-replication.suspended', (tx) => setSuspended(tx, id, true));
  }

  /** Resume-VMReplication of the extended relationship. */
  resume(tenantId: TenantId, actor: Actor, id: RelationshipId): Promise<ExtendedReplicationView> {
    return this.#change(tenantId, actor, id, 'extended-replication.resumed', (tx) => setSuspended(tx, id, false));
  }

  /** Remove-VMReplication of the extended relationship. */
  async remove(tenantId: TenantId, actor: Actor, id: RelationshipId): Promise<void> {
    await this.unitOfWork.run(tenantId, async (tx) => {
      await getRelationship(tx, id, { lock: true });
      const { site } = await getExtendedReplication(tx, id);
      await deleteExtendedReplication(tx, id);
      await this.#append(tx, actor, 'extended-replication.removed', id, { site });
    });
  }

  #change(
    tenantId: TenantId,
    actor: Actor,
    id: RelationshipId,
    action: string,
    work: (tx: Tx) => Promise<void>,
  ): Promise<ExtendedReplicationView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await getRelationship(tx, id, { lock: true });
      await getExtendedReplication(tx, id);
      await work(tx);
      await this.#append(tx, actor, action, id, {});
      return viewOf(tx, id);
    });
  }

  async #append(tx: Tx, actor: Actor, action: string, id: RelationshipId, details: Record<string, unknown>): Promise<void> {
    await this.auditLog.append(tx, { actor: auditActorOf(actor), action, subject: { kind: 'relationship', id }, details });
  }
}

/** `relationship.not-found`, `extended.not-found`. */
async function viewOf(tx: Tx, id: RelationshipId): Promise<ExtendedReplicationView> {
  await getRelationship(tx, id, { lock: false });
  return toExtendedView(await getExtendedReplication(tx, id));
}

export function toExtendedView(row: ExtendedStanding): ExtendedReplicationView {
  const { failure_kind: kind, failure_code: code, failing_since: since } = row;
  const facts = {
    now: row.now,
    isSuspended: row.suspended_at !== null,
    initialAt: row.initial_at,
    behindSince: row.behind_since,
    failure: kind === null || code === null || since === null ? null : { kind, code, since, message: row.failure_message ?? '' },
  };
  const { health, details } = extendedHealthOf(facts);
  const committedAt = row.last_committed_at;
  return {
    relationshipId: row.relationship_id,
    vmName: row.vm_name,
    site: row.site,
    frequencySeconds: row.frequency_seconds === 900 ? 900 : 300,
    mode: 'ExtendedReplica',
    state: extendedStateOf(facts),
    health,
    healthDetails: [...details],
    lastPointInstant: row.last_instant?.toISOString() ?? null,
    lastPointAgeSeconds: committedAt === null ? null : Math.max(0, (row.now.getTime() - committedAt.getTime()) / 1000),
    lastWholeAt: row.whole_at?.toISOString() ?? null,
    pendingManifests: row.pending_manifests,
    pendingBytes: row.pending_bytes,
    carriedBytes: row.carried_bytes,
    failureCode: code,
    failureMessage: row.failure_message,
    createdAt: row.created_at.toISOString(),
  };
}
