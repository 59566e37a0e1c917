import type { FastifyRequest } from 'fastify';
import type { TenantId } from '#libs/kernel';

/** Who makes a request, as far as the plumbing needs to know: whose remembered answers it may get, and what logs say. */
export interface Principal {
  /** Null for the provider's people. */
  readonly tenantId: TenantId | null;
  readonly actorId: string;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the guard that knew the caller; absent on public routes. */
    principal?: Principal;
  }
}

export type HttpRequest = FastifyRequest;
