import { z } from 'zod';
import { pageOf } from '#libs/contracts/common';
import {
  auditEventsView,
  type AuditEventView,
  chainStatView,
  chainRepairView,
  type ChainRepairView,
  type ChainStatView,
  createdEnrolmentToken,
  type createReplicaNodeToken,
  type createTenant,
  type renameTenant,
  type createUser,
  heldSweepView,
  type HeldSweepView,
  jobView,
  type JobView,
  receiverView,
  type ReceiverView,
  replicaNodeView,
  type ReplicaNodeView,
  scrubView,
  type ScrubView,
  startedScrub,
  type startScrub,
  tenantDeletionView,
  type TenantDeletionView,
  tenantsView,
  tenantView,
  type TenantView,
  userView,
  type UserView,
} from '#libs/contracts/http';
import type { CreatedEnrolmentToken } from './agents.js';
import type { ListQuery } from './replication.js';
import { type Page, type PageQuery, Resource, segment } from './resource.js';
import type { AuditPageQuery } from './tenant.js';
import type { CallOptions } from './transport.js';

const chainRepairs = pageOf(chainRepairView);
const chainStats = pageOf(chainStatView);
const replicaNodes = z.object({ items: z.array(replicaNodeView) });
const receivers = z.object({ items: z.array(receiverView) });
const heldSweeps = z.object({ items: z.array(heldSweepView) });
const scrubs = z.object({ items: z.array(scrubView) });
const jobs = z.object({ items: z.array(jobView) });

/** What the provider's people see and do. */
export class OperatorRoutes extends Resource {
  tenants({ signal, ...query }: PageQuery = {}): Promise<Page<TenantView>> {
    return this.transport.json(tenantsView, { method: 'GET', path: '/operator/tenants', query }, { signal });
  }

  tenant(id: string, options?: CallOptions): Promise<TenantView> {
    return this.transport.json(tenantView, { method: 'GET', path: `/operator/tenants/${segment(id)}` }, options);
  }

  createTenant(body: z.input<typeof createTenant>, options?: CallOptions): Promise<TenantView> {
    return this.transport.json(tenantView, { method: 'POST', path: '/operator/tenants', body }, options);
  }

  renameTenant(id: string, body: z.input<typeof renameTenant>, options?: CallOptions): Promise<TenantView> {
    return this.transport.json(tenantView, { method: 'PUT', path: `/operator/tenants/${segment(id)}`, body }, options);
  }

  deletion(tenantId: string, options?: CallOptions): Promise<TenantDeletionView> {
    return this.transport.json(tenantDeletionView, { method: 'GET', path: `/operator/tenants/${segment(tenantId)}/deletion` }, options);
  }

  /** Shuts the tenant out, and begins the hold. */
  requestDeletion(tenantId: string, options?: CallOptions): Promise<TenantDeletionView> {
    return this.transport.json(tenantDeletionView, { method: 'POST', path: `/operator/tenants/${segment(tenantId)}/deletion` }, options);
  }

  /** By somebody else than who asked. */
  confirmDeletion(tenantId: string, options?: CallOptions): Promise<TenantDeletionView> {
    const path = `/operator/tenants/${segment(tenantId)}/deletion/confirm`;
    return this.transport.json(tenantDeletionView, { method: 'POST', path }, options);
  }

  withdrawDeletion(tenantId: string, options?: CallOptions): Promise<void> {
    return this.transport.nothing({ method: 'DELETE', path: `/operator/tenants/${segment(tenantId)}/deletion` }, options);
  }

  /** The chains of a tenant, in sums. */
  chains(tenantId: string, options?: CallOptions): Promise<Page<ChainStatView>> {
    return this.transport.json(chainStats, { method: 'GET', path: `/operator/tenants/${segment(tenantId)}/chains` }, options);
  }

  /** The chains of a tenant that are damaged in the store, or were repaired. */
  repairs(tenantId: string, options?: CallOptions): Promise<Page<ChainRepairView>> {
    return this.transport.json(chainRepairs, { method: 'GET', path: `/operator/tenants/${segment(tenantId)}/chain-repairs` }, options);
  }

  /** A tenant's first admin, as a rule. */
  createUser(tenantId: string, body: z.input<typeof createUser>, options?: CallOptions): Promise<UserView> {
    return this.transport.json(userView, { method: 'POST', path: `/operator/tenants/${segment(tenantId)}/users`, body }, options);
  }

  replicaNodes(options?: CallOptions): Promise<{ items: ReplicaNodeView[] }> {
    return this.transport.json(replicaNodes, { method: 'GET', path: '/operator/replica-nodes' }, options);
  }

  /** The only answer that carries the token itself. */
  createReplicaNodeToken(body: z.input<typeof createReplicaNodeToken>, options?: CallOptions): Promise<CreatedEnrolmentToken> {
    const path = '/operator/replica-node-enrolment-tokens';
    return this.transport.json(createdEnrolmentToken, { method: 'POST', path, body }, options);
  }

  receivers(options?: CallOptions): Promise<{ items: ReceiverView[] }> {
    return this.transport.json(receivers, { method: 'GET', path: '/operator/receivers' }, options);
  }

  /** The damaged first, then those that were not looked at for longest. */
  scrubs({ signal, limit }: ListQuery = {}): Promise<{ items: ScrubView[] }> {
    return this.transport.json(scrubs, { method: 'GET', path: '/operator/scrubs', query: { limit } }, { signal });
  }

  /** Has everything of one VM, or of all, read anew. */
  startScrub(body: z.input<typeof startScrub>, options?: CallOptions): Promise<z.infer<typeof startedScrub>> {
    return this.transport.json(startedScrub, { method: 'POST', path: '/operator/scrubs', body }, options);
  }

  /** What collection holds until two operators approve it; what waits for longest first. */
  heldSweeps({ signal, limit }: ListQuery = {}): Promise<{ items: HeldSweepView[] }> {
    return this.transport.json(heldSweeps, { method: 'GET', path: '/operator/collections', query: { limit } }, { signal });
  }

  approveSweep(digest: string, options?: CallOptions): Promise<HeldSweepView> {
    return this.transport.json(heldSweepView, { method: 'POST', path: `/operator/collections/${segment(digest)}/approve` }, options);
  }

  /** Those under way first, then the newest. */
  jobs({ signal, limit }: ListQuery = {}): Promise<{ items: JobView[] }> {
    return this.transport.json(jobs, { method: 'GET', path: '/operator/jobs', query: { limit } }, { signal });
  }

  /** The provider's own log, newest first. */
  auditEvents({ signal, ...query }: AuditPageQuery = {}): Promise<Page<AuditEventView>> {
    return this.transport.json(auditEventsView, { method: 'GET', path: '/operator/audit-events', query }, { signal });
  }
}
