import { z } from 'zod';
import { pageOf } from '#libs/contracts/common';
import {
  agentView,
  type AgentView,
  authorizationEntryView,
  type AuthorizationEntryView,
  type createAuthorizationEntry,
  createdEnrolmentToken,
  type createEnrolmentToken,
  enrolmentTokenView,
  storageLocationView,
  type StorageLocationView,
} from '#libs/contracts/http';
import { type Page, type PageQuery, Resource, segment } from './resource.js';
import type { CallOptions } from './transport.js';

const agentsPage = pageOf(agentView);
const tokensPage = pageOf(enrolmentTokenView);
const entriesPage = pageOf(authorizationEntryView);
const storageLocations = z.object({ items: z.array(storageLocationView) });

export type EnrolmentTokenView = z.output<typeof enrolmentTokenView>;
export type CreatedEnrolmentToken = z.output<typeof createdEnrolmentToken>;

/** Agents, and what lets new ones in. */
export class AgentRoutes extends Resource {
  list({ signal, ...query }: PageQuery = {}): Promise<Page<AgentView>> {
    return this.transport.json(agentsPage, { method: 'GET', path: '/agents', query }, { signal });
  }

  get(id: string, options?: CallOptions): Promise<AgentView> {
    return this.transport.json(agentView, { method: 'GET', path: `/agents/${segment(id)}` }, options);
  }

  /** For good: the agent must be enrolled anew. `reason` goes into the audit log. */
  revoke(id: string, reason: string, options?: CallOptions): Promise<AgentView> {
    return this.transport.json(agentView, { method: 'POST', path: `/agents/${segment(id)}/revoke`, body: { reason } }, options);
  }

  enrolmentTokens({ signal, ...query }: PageQuery = {}): Promise<Page<EnrolmentTokenView>> {
    return this.transport.json(tokensPage, { method: 'GET', path: '/enrolment-tokens', query }, { signal });
  }

  /** The only answer that carries the token itself. */
  createEnrolmentToken(body: z.input<typeof createEnrolmentToken>, options?: CallOptions): Promise<CreatedEnrolmentToken> {
    return this.transport.json(createdEnrolmentToken, { method: 'POST', path: '/enrolment-tokens', body }, options);
  }

  deleteEnrolmentToken(id: string, options?: CallOptions): Promise<void> {
    return this.transport.nothing({ method: 'DELETE', path: `/enrolment-tokens/${segment(id)}` }, options);
  }
}

/** Which primary servers may replicate, under which tag. */
export class AuthorizationEntryRoutes extends Resource {
  list({ signal, ...query }: PageQuery = {}): Promise<Page<AuthorizationEntryView>> {
    return this.transport.json(entriesPage, { method: 'GET', path: '/authorization-entries', query }, { signal });
  }

  create(body: z.input<typeof createAuthorizationEntry>, options?: CallOptions): Promise<AuthorizationEntryView> {
    return this.transport.json(authorizationEntryView, { method: 'POST', path: '/authorization-entries', body }, options);
  }

  delete(id: string, options?: CallOptions): Promise<void> {
    return this.transport.nothing({ method: 'DELETE', path: `/authorization-entries/${segment(id)}` }, options);
  }

  storageLocations(options?: CallOptions): Promise<{ items: StorageLocationView[] }> {
    return this.transport.json(storageLocations, { method: 'GET', path: '/storage-locations' }, options);
  }
}
