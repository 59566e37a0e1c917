import { z } from 'zod';
import { displayName, instant, keyHolder, pageQuery, plainText, uuid } from '../common/index.js';

/** Tenants, people, tokens and the audit log. */
export const tenantRole = z.enum(['viewer', 'operator', 'admin']);
export type TenantRoleName = z.infer<typeof tenantRole>;
export const providerRole = z.enum(['support', 'operator', 'security']);
export type ProviderRoleName = z.infer<typeof providerRole>;

/** The tenant's name in sign-in and addresses: a DNS label. */
export const tenantSlug = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/, 'lower-case letters, digits and dashes, at most 40');
export const email = z.email().max(254).toLowerCase();
/** Long rather than odd: any characters, at least twelve. */
export const newPassword = z.string().min(12).max(128);

export const logIn = z.object({ tenant: plainText(40), email: plainText(254).toLowerCase(), password: z.string().max(128) });
export const operatorLogIn = logIn.omit({ tenant: true });

/** Who is signed in. `csrfToken` goes into the header `x-holdfast-csrf` of every unsafe request that a session makes; null for a token. */
export const meView = z.object({
  kind: z.enum(['user', 'operator']),
  id: uuid,
  email: z.string(),
  name: displayName,
  role: z.union([tenantRole, providerRole]),
  permissions: z.array(z.string()),
  tenant: z.object({ id: uuid, slug: z.string(), name: displayName }).nullable(),
  csrfToken: z.string().nullable(),
});
export type MeView = z.infer<typeof meView>;

export const createTenant = z.object({
  slug: tenantSlug,
  name: displayName,
  /** `tenant`: the tenant registers a key of its own before its first host enrols. */
  keyHolder: keyHolder.default('provider'),
});
export const renameTenant = createTenant.omit({ keyHolder: true });
export const tenantView = z.object({
  id: uuid,
  slug: z.string(),
  name: displayName,
  state: z.enum(['active', 'suspended', 'deleting', 'deleted']),
  createdAt: instant,
});
export type TenantView = z.infer<typeof tenantView>;
export const tenantsView = z.object({ items: z.array(tenantView), next: z.string().nullable() });

export const createUser = z.object({ email, name: displayName, role: tenantRole, password: newPassword });
export const userView = z.object({
  id: uuid,
  email: z.string(),
  name: displayName,
  role: tenantRole,
  createdAt: instant,
  lastLoginAt: instant.nullable(),
  disabled: z.boolean(),
});
export type UserView = z.infer<typeof userView>;
export const usersView = z.object({ items: z.array(userView) });

/** A token acts as whoever made it, with a role of at most that one's. */
export const createApiToken = z.object({
  name: displayName,
  role: z.union([tenantRole, providerRole]),
  expiresInDays: z.int().min(1).max(365).default(90),
});
export const apiTokenView = z.object({
  id: uuid,
  name: displayName,
  role: z.string(),
  createdAt: instant,
  expiresAt: instant,
  lastUsedAt: instant.nullable(),
});
export type ApiTokenView = z.infer<typeof apiTokenView>;
/** The only answer that carries the token itself. */
export const createdApiToken = apiTokenView.extend({ token: z.string() });
export const apiTokensView = z.object({ items: z.array(apiTokenView) });

export const auditQuery = pageQuery.extend({
  /** An action, or the beginning of some: `agent.`. */
  action: plainText(100).optional(),
  outcome: z.enum(['done', 'refused']).optional(),
  since: instant.optional(),
});
export type AuditQuery = z.infer<typeof auditQuery>;
export const auditEventView = z.object({
  seq: z.int(),
  at: instant,
  actorKind: z.string(),
  actorId: z.string().nullable(),
  actorName: z.string(),
  action: z.string(),
  subjectKind: z.string().nullable(),
  subjectId: z.string().nullable(),
  outcome: z.enum(['done', 'refused']),
  details: z.record(z.string(), z.unknown()),
  requestId: z.string().nullable(),
  hash: z.string(),
});
export type AuditEventView = z.infer<typeof auditEventView>;
/** Newest first. */
export const auditEventsView = z.object({ items: z.array(auditEventView), next: z.string().nullable() });
