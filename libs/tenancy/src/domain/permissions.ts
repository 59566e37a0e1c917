/** What a person of a tenant may do. Each role has all of the ones before it. */
const TENANT_ROLE_GRANTS = {
  viewer: ['tenant:read', 'agents:read', 'replication:read', 'failover:read', 'keys:read', 'tokens:own'],
  operator: ['replication:write', 'failover:write'],
  admin: ['agents:write', 'keys:write', 'users:read', 'users:write', 'audit:read'],
} as const;

/** What a person of the provider may do. Likewise. */
const PROVIDER_ROLE_GRANTS = {
  support: ['provider:read', 'tokens:own'],
  operator: ['tenants:write', 'cluster:write'],
  security: ['provider-audit:read', 'operators:write', 'tenants:delete'],
} as const;

export type TenantRole = keyof typeof TENANT_ROLE_GRANTS;
export type ProviderRole = keyof typeof PROVIDER_ROLE_GRANTS;
export type TenantPermission = (typeof TENANT_ROLE_GRANTS)[TenantRole][number];
export type ProviderPermission = (typeof PROVIDER_ROLE_GRANTS)[ProviderRole][number];
export type Permission = TenantPermission | ProviderPermission;

export const TENANT_ROLES = Object.keys(TENANT_ROLE_GRANTS) as TenantRole[];
export const PROVIDER_ROLES = Object.keys(PROVIDER_ROLE_GRANTS) as ProviderRole[];

export function tenantPermissions(role: TenantRole): TenantPermission[] {
  return TENANT_ROLES.slice(0, TENANT_ROLES.indexOf(role) + 1).flatMap((each) => [...TENANT_ROLE_GRANTS[each]]);
}

export function providerPermissions(role: ProviderRole): ProviderPermission[] {
  return PROVIDER_ROLES.slice(0, PROVIDER_ROLES.indexOf(role) + 1).flatMap((each) => [...PROVIDER_ROLE_GRANTS[each]]);
}

/** The lesser of two tenant roles: a token never does more than whoever made it may do now. */
export function lesserTenantRole(a: TenantRole, b: TenantRole): TenantRole {
  return TENANT_ROLES.indexOf(a) <= TENANT_ROLES.indexOf(b) ? a : b;
}

export function lesserProviderRole(a: ProviderRole, b: ProviderRole): ProviderRole {
  return PROVIDER_ROLES.indexOf(a) <= PROVIDER_ROLES.indexOf(b) ? a : b;
}
