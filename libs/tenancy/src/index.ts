/**
 * tenancy: tenants, the people of tenants and provider, how they sign in, what they may do, and the audit log.
 * May import kernel, contracts and platform. Its invariants: a request's tenant comes from who is signed in and from nowhere
 * else; every route says who may call it; an audit event is never changed.
 */
export { type Actor, type OperatorActor, permissionsOf, type TenantActor } from './domain/actor.js';
export type { Permission, ProviderPermission, ProviderRole, TenantPermission, TenantRole } from './domain/permissions.js';
export {
  type Access,
  ACCESS,
  CurrentActor,
  CurrentTenant,
  OperatorRoute,
  PublicRoute,
  RequestId,
  SignedInRoute,
  TenantRoute,
} from './http/access.js';
export { TENANCY_TABLES, type TenantRow } from './tables/tables.js';
export { findTenant, listTenants, setKeyHolder } from './tables/tenants.js';
export { type AuditActor, auditActorOf, type AuditEntry, AuditLog } from './use-cases/audit-log.js';
export { CreateOperator, type NewOperator } from './use-cases/create-operator.js';
export { CreateTenant, type NewTenant, TenantCreatedHook } from './use-cases/create-tenant.js';
export { CreateUser, type NewUser } from './use-cases/create-user.js';
export { TenancyHttpModule, TenancyModule, TenancyWorkerModule } from './tenancy.module.js';
