import type { Manifest } from '#libs/chain';
import type {
  Consistency,
  CycleKind,
  CycleState,
  ExportFormat,
  ManifestKind,
  PublicationFormat,
  PublicationPoints,
  PublicationState,
  ReplicationMode,
  ReplicationState,
  VmDefinition,
} from '#libs/contracts/common';
import type { ChainDamage } from '#libs/contracts/http';
import type { ReplicationPolicy } from '#libs/contracts/wire';
import { bigint, boolean, bytea, defineTable, double, integer, jsonb, nullable, text, textArray, timestamptz, uuid } from '#libs/platform';
import { UPKEEP_TABLES } from './upkeep-tables.js';

export const virtualMachineTable = defineTable('virtual_machine', {
  id: uuid(),
  tenant_id: uuid(),
  agent_id: uuid(),
  source_id: uuid(),
  name: text(),
  power: text<'running' | 'paused' | 'off' | 'unknown'>(),
  obstacle: nullable(text()),
  definition: jsonb<VmDefinition>(),
  reported_at: timestamptz(),
});

export const cycleCounterTable = defineTable('cycle_counter', { tenant_id: uuid(), counter: bigint() });

export const replicaChainTable = defineTable('replica_chain', {
  id: uuid(),
  tenant_id: uuid(),
  tag: text(),
  epoch_incarnation: integer(),
  epoch_counter: bigint(),
  branch_id: uuid(),
  created_at: timestamptz(),
  /** The lowest generation that may seal from now on. */
  key_generation_min: integer(),
});

export const chainBranchTable = defineTable('chain_branch', {
  id: uuid(),
  tenant_id: uuid(),
  chain_id: uuid(),
  created_at: timestamptz(),
  frozen_branch_id: nullable(uuid()),
  frozen_sequence: nullable(bigint()),
  frozen_cycle: nullable(text()),
  frozen_sha256: nullable(text()),
  frozen_path: nullable(text()),
  head_branch_id: nullable(uuid()),
  head_sequence: nullable(bigint()),
  head_cycle: nullable(text()),
  head_sha256: nullable(text()),
  head_path: nullable(text()),
});

export const relationshipTable = defineTable('replication_relationship', {
  id: uuid(),
  tenant_id: uuid(),
  vm_id: uuid(),
  agent_id: uuid(),
  chain_id: uuid(),
  storage_location_id: uuid(),
  mode: text<ReplicationMode>(),
  state: text<ReplicationState>(),
  policy: jsonb<ReplicationPolicy>(),
  revision: integer(),
  failure_code: nullable(text()),
  failure_message: nullable(text()),
  created_at: timestamptz(),
  removed_at: nullable(timestamptz()),
});

export const replicationCycleTable = defineTable('replication_cycle', {
  id: uuid(),
  tenant_id: uuid(),
  chain_id: uuid(),
  branch_id: uuid(),
  cycle: text(),
  sequence: bigint(),
  kind: text<CycleKind>(),
  manifest_kind: text<ManifestKind>(),
  state: text<CycleState>(),
  writer_id: uuid(),
  epoch_incarnation: integer(),
  epoch_counter: bigint(),
  parent_branch_id: nullable(uuid()),
  parent_sequence: nullable(bigint()),
  parent_cycle: nullable(text()),
  parent_sha256: nullable(text()),
  parent_path: nullable(text()),
  lease_expires_at: timestamptz(),
  manifest_sha256: nullable(text()),
  opened_at: timestamptz(),
  ended_at: nullable(timestamptz()),
  changed_bytes: nullable(bigint()),
  resumed_uploads: nullable(integer()),
  pause_ms: nullable(double()),
  duration_ms: nullable(double()),
  failure_code: nullable(text()),
  failure_message: nullable(text()),
  settled_at: nullable(timestamptz()),
});

export const chainSegmentTable = defineTable('chain_segment', {
  tenant_id: uuid(),
  chain_id: uuid(),
  sha256: text(),
  size_bytes: integer(),
  footer_bytes: integer(),
  record_count: integer(),
  plain_bytes: bigint(),
  first_disk: integer(),
  first_block: integer(),
  last_disk: integer(),
  last_block: integer(),
  created_at: timestamptz(),
  doomed_at: nullable(timestamptz()),
  footer_sha256: text(),
  role: text<'uploaded' | 'listed' | 'compacted'>(),
  replaced_by: nullable(textArray()),
  condemned_at: nullable(timestamptz()),
});

export const cycleSegmentTable = defineTable('cycle_segment', { tenant_id: uuid(), cycle_id: uuid(), chain_id: uuid(), sha256: text() });

export const cycleListTable = defineTable('cycle_list', { tenant_id: uuid(), cycle_id: uuid(), sha256: text(), entry_count: integer() });

export const chainKeyTable = defineTable('chain_key', {
  tenant_id: uuid(),
  chain_id: uuid(),
  kind: text<'data' | 'fingerprint'>(),
  generation: integer(),
  recipient: text(),
  writer_id: uuid(),
  created_at: timestamptz(),
  wrapped_by: text<'writer' | 'holder'>(),
  opened_at: nullable(timestamptz()),
  fault: nullable(text()),
  fault_at: nullable(timestamptz()),
});

export const keyRequestTable = defineTable('key_request', {
  id: uuid(),
  tenant_id: uuid(),
  kind: text<'failover' | 'export' | 'publication' | 'repair'>(),
  chain_id: uuid(),
  recovery_point_id: uuid(),
  requested_at: timestamptz(),
  released_at: nullable(timestamptz()),
});

export const keyGrantTable = defineTable('key_grant', {
  tenant_id: uuid(),
  request_id: uuid(),
  replica_node_id: uuid(),
  kind: text<'data' | 'fingerprint'>(),
  generation: integer(),
  wrapped: bytea(),
  granted_at: timestamptz(),
});

export const chainManifestTable = defineTable('chain_manifest', {
  id: uuid(),
  tenant_id: uuid(),
  chain_id: uuid(),
  branch_id: uuid(),
  sequence: bigint(),
  cycle: text(),
  sha256: text(),
  path: text(),
  kind: text<ManifestKind>(),
  parent_branch_id: nullable(uuid()),
  parent_sequence: nullable(bigint()),
  parent_cycle: nullable(text()),
  parent_sha256: nullable(text()),
  parent_path: nullable(text()),
  epoch_incarnation: integer(),
  epoch_counter: bigint(),
  instant: timestamptz(),
  consistency: text<Consistency>(),
  definition: jsonb<Pick<Manifest, 'vm' | 'disks'>>(),
  sent_bytes: bigint(),
  committed_at: timestamptz(),
});

export const recoveryPointTable = defineTable('recovery_point', {
  id: uuid(),
  tenant_id: uuid(),
  chain_id: uuid(),
  committed_at: timestamptz(),
  immutable_until: nullable(timestamptz()),
  pinned_at: nullable(timestamptz()),
  pin_note: nullable(text()),
});

export const chainRetentionTable = defineTable('chain_retention', {
  tenant_id: uuid(),
  chain_id: uuid(),
  applied_at: nullable(timestamptz()),
  removed_points: bigint(),
  locked_until: nullable(timestamptz()),
  objects_locked_at: nullable(timestamptz()),
});

export const pointExportTable = defineTable('point_export', {
  id: uuid(),
  tenant_id: uuid(),
  recovery_point_id: uuid(),
  disk_ordinal: integer(),
  format: text<ExportFormat>(),
  base_export_id: nullable(uuid()),
  state: text<'Queued' | 'InProgress' | 'Completed' | 'Failed'>(),
  file_name: text(),
  object_key: text(),
  size_bytes: nullable(bigint()),
  sha256: nullable(text()),
  unique_id: nullable(uuid()),
  timestamp_seconds: nullable(bigint()),
  failure_code: nullable(text()),
  failure_message: nullable(text()),
  created_at: timestamptz(),
  publication_id: nullable(uuid()),
  done_bytes: bigint(),
  total_bytes: nullable(bigint()),
});

export const publicationTable = defineTable('publication', {
  id: uuid(),
  tenant_id: uuid(),
  relationship_id: uuid(),
  chain_id: uuid(),
  format: text<PublicationFormat>(),
  disk_ordinal: nullable(integer()),
  points: jsonb<PublicationPoints>(),
  follow: boolean(),
  state: text<PublicationState>(),
  waiting_count: nullable(integer()),
  intermediate_count: integer(),
  index_revision: integer(),
  index_sha256: nullable(text()),
  attempts: integer(),
  due_at: timestamptz(),
  failure_code: nullable(text()),
  failure_message: nullable(text()),
  created_at: timestamptz(),
});

export const chainCheckTable = defineTable('chain_check', {
  id: uuid(),
  tenant_id: uuid(),
  relationship_id: uuid(),
  chain_id: uuid(),
  with_bytes: boolean(),
  state: text<'Queued' | 'InProgress' | 'Completed' | 'Failed'>(),
  checked_objects: integer(),
  checked_bytes: bigint(),
  total_objects: nullable(integer()),
  total_bytes: nullable(bigint()),
  cursor: text(),
  damage: jsonb<readonly ChainDamage[]>(),
  failure_code: nullable(text()),
  failure_message: nullable(text()),
  created_at: timestamptz(),
  ended_at: nullable(timestamptz()),
});

/** All of them, for the test that holds them against the migrated database. */
export const REPLICATION_TABLES = [
  virtualMachineTable,
  cycleCounterTable,
  replicaChainTable,
  chainBranchTable,
  relationshipTable,
  replicationCycleTable,
  chainSegmentTable,
  cycleSegmentTable,
  cycleListTable,
  chainKeyTable,
  keyRequestTable,
  keyGrantTable,
  chainManifestTable,
  recoveryPointTable,
  chainRetentionTable,
  pointExportTable,
  publicationTable,
  chainCheckTable,
  ...UPKEEP_TABLES,
] as const;
