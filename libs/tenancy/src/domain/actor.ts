import type { TenantId, UserId } from '#libs/kernel';
import { type Permission, providerPermissions, type ProviderRole, tenantPermissions, type TenantRole } from './permissions.js';

interface Person {
  readonly id: UserId;
  readonly email: string;
  readonly name: string;
  /** How they proved it: a session needs the CSRF header, a token does not. */
  readonly credential: { readonly kind: 'session' | 'token'; readonly id: string };
}

export interface TenantActor extends Person {
  readonly kind: 'user';
  readonly tenantId: TenantId;
  readonly role: TenantRole;
}

export interface OperatorActor extends Person {
  readonly kind: 'operator';
  readonly role: ProviderRole;
}

/** Whoever makes a request through the API. */
export type Actor = TenantActor | OperatorActor;

export function permissionsOf(actor: Actor): readonly Permission[] {
  return actor.kind === 'user' ? tenantPermissions(actor.role) : providerPermissions(actor.role);
}
