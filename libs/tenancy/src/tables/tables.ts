import type { KeyHolder } from '#libs/contracts/common';
import type { TenantId, UserId } from '#libs/kernel';
import { bigint, bytea, defineTable, jsonb, nullable, type RowOf, text, timestamptz, uuid } from '#libs/platform';
import type { ProviderRole, TenantRole } from '../domain/permissions.js';

export const tenantTableDefinition = defineTable('tenant', {
  id: uuid<TenantId>(),
  slug: text(),
  name: text(),
  state: text<'active' | 'suspended' | 'deleting' | 'deleted'>(),
  created_at: timestamptz(),
  /** Who holds the private half of its key. */
  key_holder: text<KeyHolder>(),
});
export type TenantRow = RowOf<typeof tenantTableDefinition>;

export const tenantUserTable = defineTable('tenant_user', {
  id: uuid<UserId>(),
  tenant_id: uuid<TenantId>(),
  email: text(),
  name: text(),
  role: text<TenantRole>(),
  password_hash: text(),
  created_at: timestamptz(),
  last_login_at: nullable(timestamptz()),
  disabled_at: nullable(timestamptz()),
});
export type TenantUserRow = RowOf<typeof tenantUserTable>;

export const operatorTable = defineTable('operator', {
  id: uuid<UserId>(),
  email: text(),
  name: text(),
  role: text<ProviderRole>(),
  password_hash: text(),
  created_at: timestamptz(),
  last_login_at: nullable(timestamptz()),
  disabled_at: nullable(timestamptz()),
});
export type OperatorRow = RowOf<typeof operatorTable>;

export const sessionTable = defineTable('session', {
  id: uuid(),
  tenant_id: nullable(uuid<TenantId>()),
  user_id: nullable(uuid<UserId>()),
  operator_id: nullable(uuid<UserId>()),
  token_hmac: bytea(),
  created_at: timestamptz(),
  last_seen_at: timestamptz(),
  expires_at: timestamptz(),
});

export const apiTokenTable = defineTable('api_token', {
  id: uuid(),
  tenant_id: nullable(uuid<TenantId>()),
  user_id: nullable(uuid<UserId>()),
  operator_id: nullable(uuid<UserId>()),
  name: text(),
  role: text<TenantRole | ProviderRole>(),
  secret_hmac: bytea(),
  created_at: timestamptz(),
  expires_at: timestamptz(),
  last_used_at: nullable(timestamptz()),
});
export type ApiTokenRow = RowOf<typeof apiTokenTable>;

export const auditEventTable = defineTable('audit_event', {
  id: uuid(),
  tenant_id: nullable(uuid<TenantId>()),
  seq: bigint(),
  at: timestamptz(),
  actor_kind: text(),
  actor_id: nullable(text()),
  actor_name: text(),
  action: text(),
  subject_kind: nullable(text()),
  subject_id: nullable(text()),
  outcome: text<'done' | 'refused'>(),
  details: jsonb<Record<string, unknown>>(),
  request_id: nullable(text()),
  prev_hash: bytea(),
  hash: bytea(),
});
export type AuditEventRow = RowOf<typeof auditEventTable>;

export const tenantDeletionTable = defineTable('tenant_deletion', {
  tenant_id: uuid<TenantId>(),
  requested_by: uuid<UserId>(),
  requested_at: timestamptz(),
  hold_until: timestamptz(),
  confirmed_by: nullable(uuid<UserId>()),
  confirmed_at: nullable(timestamptz()),
  destroyed_at: nullable(timestamptz()),
  sweep_due_at: nullable(timestamptz()),
  kept_count: nullable(bigint()),
  emptied_at: nullable(timestamptz()),
});
export type TenantDeletionRow = RowOf<typeof tenantDeletionTable>;

export const TENANCY_TABLES = [
  tenantTableDefinition,
  tenantUserTable,
  operatorTable,
  sessionTable,
  apiTokenTable,
  auditEventTable,
  tenantDeletionTable,
] as const;
