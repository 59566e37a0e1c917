import type { DamagedBlocks, ListEntry, ScrubbedKind } from '#libs/chain';
import type { RepairState } from '#libs/contracts/http';
import type { ErrorKind } from '#libs/kernel';
import { bigint, defineTable, integer, jsonb, nullable, text, textArray, timestamptz, uuid } from '#libs/platform';

const ofChain = { tenant_id: uuid(), chain_id: uuid() };

export const installationTable = defineTable('installation', {
  id: uuid(),
  incarnation: integer(),
  stamped_incarnation: nullable(integer()),
  withheld: nullable(text()),
});

export const chainUpkeepTable = defineTable('chain_upkeep', {
  ...ofChain,
  revision: bigint(),
  written_bytes: bigint(),
  asked_bytes: bigint(),
  worker: nullable(text()),
  worker_until: nullable(timestamptz()),
  maintained_at: nullable(timestamptz()),
  collected_at: nullable(timestamptz()),
  failure_code: nullable(text()),
  failure_message: nullable(text()),
});

export const chainLeaseTable = defineTable('chain_lease', {
  ...ofChain,
  id: uuid(),
  cycle: text(),
  holder: text(),
  resolved_at: timestamptz(),
  expires_at: nullable(timestamptz()),
});

export const chainIndexTable = defineTable('chain_index', {
  ...ofChain,
  sha256: text(),
  size_bytes: integer(),
  first_position: bigint(),
  last_position: bigint(),
  last_cycle: text(),
  branch_id: uuid(),
  bytes: bigint(),
  parts: textArray(),
  created_at: timestamptz(),
  doomed_at: nullable(timestamptz()),
});

export const chainBucketTable = defineTable('chain_bucket', {
  ...ofChain,
  end_cycle: text(),
  start_cycle: nullable(text()),
  counted_at: timestamptz(),
});

export const bucketSegmentTable = defineTable('bucket_segment', { ...ofChain, end_cycle: text(), sha256: text(), live_bytes: bigint() });

export const chainSnapshotTable = defineTable('chain_snapshot', {
  ...ofChain,
  sequence: bigint(),
  sha256: text(),
  since: bigint(),
  created_at: timestamptz(),
});

export const chainStrayTable = defineTable('chain_stray', {
  ...ofChain,
  name: text(),
  size_bytes: bigint(),
  held_until: nullable(timestamptz()),
  sighted_at: nullable(timestamptz()),
  condemned_at: nullable(timestamptz()),
  deleted_at: nullable(timestamptz()),
});

export const chainSweepTable = defineTable('chain_sweep', {
  ...ofChain,
  digest: text(),
  object_count: bigint(),
  bytes: bigint(),
  stored_bytes: bigint(),
  found_at: timestamptz(),
  first_by: nullable(uuid()),
  first_at: nullable(timestamptz()),
  second_by: nullable(uuid()),
  second_at: nullable(timestamptz()),
});

export const chainSweepObjectTable = defineTable('chain_sweep_object', { ...ofChain, name: text() });

export const chainObjectTable = defineTable('chain_object', {
  ...ofChain,
  name: text(),
  verified_at: timestamptz(),
  sha256: nullable(text()),
});

export const chainDamageTable = defineTable('chain_damage', {
  ...ofChain,
  name: text(),
  kind: text<ScrubbedKind>(),
  layer: nullable(text()),
  code: text(),
  message: text(),
  positions: textArray(),
  assessed_to: text(),
  blocks: jsonb<readonly DamagedBlocks[]>(),
  found_at: timestamptz(),
});

export const chainScrubTable = defineTable('chain_scrub', {
  ...ofChain,
  due_at: timestamptz(),
  scrubbed_at: nullable(timestamptz()),
  requested_at: nullable(timestamptz()),
  verified_objects: bigint(),
  verified_bytes: bigint(),
  failure_code: nullable(text()),
  failure_message: nullable(text()),
});

export const chainRepairTable = defineTable('chain_repair', {
  id: uuid(),
  ...ofChain,
  segment: text(),
  state: text<RepairState>(),
  round: integer(),
  attempts: integer(),
  wrong: jsonb<readonly number[]>(),
  wanted: jsonb<readonly number[]>(),
  offered: jsonb<readonly number[]>(),
  repaired: jsonb<readonly ListEntry[]>(),
  failure_code: nullable(text()),
  failure_message: nullable(text()),
  created_at: timestamptz(),
  changed_at: timestamptz(),
  due_at: timestamptz(),
  idle_turns: integer(),
  ended_at: nullable(timestamptz()),
});

export const chainRepairOfferTable = defineTable('chain_repair_offer', {
  tenant_id: uuid(),
  repair_id: uuid(),
  sha256: text(),
  indexes: jsonb<readonly number[]>(),
  created_at: timestamptz(),
});

export const extendedReplicationTable = defineTable('extended_replication', {
  ...ofChain,
  relationship_id: uuid(),
  site: text(),
  frequency_seconds: integer(),
  suspended_at: nullable(timestamptz()),
  due_at: timestamptz(),
  worker: nullable(text()),
  worker_until: nullable(timestamptz()),
  carried_cycle: nullable(text()),
  looked_at: nullable(timestamptz()),
  initial_at: nullable(timestamptz()),
  whole_at: nullable(timestamptz()),
  pending_manifests: integer(),
  pending_bytes: bigint(),
  carried_objects: bigint(),
  carried_bytes: bigint(),
  failing_since: nullable(timestamptz()),
  failure_kind: nullable(text<ErrorKind>()),
  failure_code: nullable(text()),
  failure_message: nullable(text()),
  created_at: timestamptz(),
});

export const chainCostlyBlockTable = defineTable('chain_costly_block', {
  ...ofChain,
  disk: integer(),
  block: bigint(),
  asked_cycle: nullable(text()),
});

export const followedChainTable = defineTable('followed_chain', { ...ofChain, source_id: uuid(), adopted_at: timestamptz() });

export const UPKEEP_TABLES = [
  installationTable,
  chainUpkeepTable,
  chainLeaseTable,
  chainIndexTable,
  chainBucketTable,
  bucketSegmentTable,
  chainSnapshotTable,
  chainStrayTable,
  chainSweepTable,
  chainSweepObjectTable,
  chainObjectTable,
  chainDamageTable,
  chainScrubTable,
  chainCostlyBlockTable,
  chainRepairTable,
  chainRepairOfferTable,
  extendedReplicationTable,
  followedChainTable,
] as const;
