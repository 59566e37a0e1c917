import type { z } from 'zod';
import {
  auditEventsView,
  type AuditEventView,
  type AuditQuery,
  type createUser,
  tenantView,
  type TenantView,
  usersView,
  userView,
  type UserView,
} from '#libs/contracts/http';
import { type Page, type PageQuery, Resource } from './resource.js';
import type { CallOptions } from './transport.js';

export type AuditPageQuery = PageQuery & { readonly [Key in 'action' | 'outcome' | 'since']?: AuditQuery[Key] };

/** A tenant's own affairs. */
export class TenantRoutes extends Resource {
  get(options?: CallOptions): Promise<TenantView> {
    return this.transport.json(tenantView, { method: 'GET', path: '/tenant' }, options);
  }

  users(options?: CallOptions): Promise<{ items: UserView[] }> {
    return this.transport.json(usersView, { method: 'GET', path: '/users' }, options);
  }

  createUser(body: z.input<typeof createUser>, options?: CallOptions): Promise<UserView> {
    return this.transport.json(userView, { method: 'POST', path: '/users', body }, options);
  }

  /** Newest first. */
  auditEvents({ signal, ...query }: AuditPageQuery = {}): Promise<Page<AuditEventView>> {
    return this.transport.json(auditEventsView, { method: 'GET', path: '/audit-events', query }, { signal });
  }
}
