import type { KeyHolder } from '#libs/contracts/common';
import type { AgentId, CommandId, ReplicaNodeId, TenantId } from '#libs/kernel';
import type { CommandKind } from '#libs/contracts/commands';
import { bigint, boolean, bytea, defineTable, integer, jsonb, nullable, text, timestamptz, uuid } from '#libs/platform';

export type IdentityState = 'active' | 'locked' | 'revoked';

const identityColumns = {
  fqdn: text(),
  state: text<IdentityState>(),
  state_reason: nullable(text()),
  certificate_sha256: text(),
  certificate_serial: text(),
  certificate_not_after: timestamptz(),
  issuer_sha256: text(),
  /** The certificate before; accepted until the present one is used for the first time. */
  previous_certificate_sha256: nullable(text()),
  /** Counts the certificates; a renewal that presents another number comes from a copied key. */
  generation: integer(),
  /** SubjectPublicKeyInfo of the present certificate's key. */
  signing_key: bytea(),
  /** SubjectPublicKeyInfo; grants wrap data keys to it. */
  unwrapping_key: bytea(),
  version: text(),
  enrolled_at: timestamptz(),
  last_seen_at: nullable(timestamptz()),
};

const tokenColumns = {
  secret_hmac: text(),
  fqdn_kind: text<'exact' | 'suffix'>(),
  fqdn_name: text(),
  created_at: timestamptz(),
  expires_at: timestamptz(),
  used_at: nullable(timestamptz()),
  used_by: nullable(uuid()),
};

export const providerAuthorityTable = defineTable('provider_authority', {
  id: uuid(),
  kind: text<'root' | 'nodes'>(),
  certificate_pem: text(),
  fingerprint_sha256: text(),
  sealed_key: bytea(),
  not_after: timestamptz(),
  created_at: timestamptz(),
});

export const storageLocationTable = defineTable('storage_location', {
  id: uuid(),
  tenant_id: uuid<TenantId>(),
  name: text(),
  is_default: boolean(),
  created_at: timestamptz(),
});

export const tenantAuthorityTable = defineTable('tenant_authority', {
  id: uuid(),
  tenant_id: uuid<TenantId>(),
  state: text<'active' | 'retired'>(),
  certificate_pem: text(),
  fingerprint_sha256: text(),
  sealed_key: bytea(),
  not_after: timestamptz(),
  created_at: timestamptz(),
});

export const tenantKeyTable = defineTable('tenant_key', {
  id: uuid(),
  tenant_id: uuid<TenantId>(),
  state: text<'active' | 'retired' | 'destroyed'>(),
  public_key: bytea(),
  public_key_sha256: text(),
  /** Names the private half to the key provider; null where the tenant holds it. */
  reference: nullable(text()),
  created_at: timestamptz(),
  version: integer(),
  holder: text<KeyHolder>(),
  /** By the version before, where the tenant held that one: see {@link verifySuccession}. */
  succession: nullable(bytea()),
  retired_at: nullable(timestamptz()),
  destroyed_at: nullable(timestamptz()),
  /** Since when the store tells of it. */
  recorded_at: nullable(timestamptz()),
});

export const keyPolicyTable = defineTable('key_policy', { tenant_id: uuid<TenantId>(), data_key_days: nullable(integer()) });

export const enrolmentTokenTable = defineTable('enrolment_token', {
  id: uuid(),
  tenant_id: uuid<TenantId>(),
  tag: text(),
  ...tokenColumns,
});

export const replicaNodeTokenTable = defineTable('replica_node_token', { id: uuid(), ...tokenColumns });

export const agentTable = defineTable('agent', { id: uuid<AgentId>(), tenant_id: uuid<TenantId>(), tag: text(), ...identityColumns });

export const replicaNodeIdentityTable = defineTable('replica_node_identity', {
  id: uuid<ReplicaNodeId>(),
  ...identityColumns,
  /** The nodes' authority over id and unwrapping key, made at enrolment; see `attestUnwrappingKey`. */
  unwrapping_attestation: nullable(bytea()),
});

export const deniedCertificateTable = defineTable('denied_certificate', {
  id: uuid(),
  tenant_id: nullable(uuid<TenantId>()),
  identity_id: uuid(),
  certificate_sha256: text(),
  reason: text(),
  denied_at: timestamptz(),
  expires_at: timestamptz(),
});

export const authorizationEntryTable = defineTable('authorization_entry', {
  id: uuid(),
  tenant_id: uuid<TenantId>(),
  server_kind: text<'exact' | 'suffix'>(),
  server_name: text(),
  depth: text<'one' | 'any'>(),
  tag: text(),
  storage_location_id: uuid(),
  enabled: boolean(),
  created_at: timestamptz(),
});

export const commandTable = defineTable('command', {
  id: uuid<CommandId>(),
  tenant_id: uuid<TenantId>(),
  seq: bigint(),
  recipient_role: text<'agent' | 'replica-node'>(),
  recipient_id: uuid(),
  agent_id: nullable(uuid<AgentId>()),
  replica_node_id: nullable(uuid<ReplicaNodeId>()),
  kind: text<CommandKind>(),
  subject_id: nullable(uuid()),
  epoch_incarnation: nullable(integer()),
  epoch_counter: nullable(integer()),
  payload: jsonb(),
  created_at: timestamptz(),
  outcome: nullable(text<'succeeded' | 'failed'>()),
  result: nullable(jsonb()),
  finished_at: nullable(timestamptz()),
});

export const identityChangeTable = defineTable('identity_change', {
  subject_id: uuid(),
  tenant_id: nullable(uuid<TenantId>()),
  changed_by: bigint(),
});

export const receiverTable = defineTable('receiver', {
  id: uuid(),
  name: text(),
  url: text(),
  version: text(),
  started_at: timestamptz(),
  last_seen_at: timestamptz(),
  connections: integer(),
  uploads: integer(),
  received_bytes: bigint(),
});

/** For the schema test, which compares each with the migrated database. */
export const AGENTS_TABLES = [
  providerAuthorityTable,
  storageLocationTable,
  tenantAuthorityTable,
  tenantKeyTable,
  keyPolicyTable,
  enrolmentTokenTable,
  replicaNodeTokenTable,
  agentTable,
  replicaNodeIdentityTable,
  deniedCertificateTable,
  authorizationEntryTable,
  commandTable,
  identityChangeTable,
  receiverTable,
] as const;
