import type { TenantId } from '#libs/kernel';
import { bytea, defineTable, integer, jsonb, nullable, text, timestamptz, uuid } from './table.js';

export const outboxEventTable = defineTable('outbox_event', {
  id: uuid(),
  tenant_id: nullable(uuid<TenantId>()),
  topic: text(),
  payload: jsonb(),
  dedupe_key: text(),
  created_at: timestamptz(),
  relayed_at: nullable(timestamptz()),
  attempts: integer(),
  failed_at: nullable(timestamptz()),
  error_code: nullable(text()),
});

export const sagaTable = defineTable('saga', {
  id: uuid(),
  tenant_id: uuid<TenantId>(),
  kind: text(),
  state: jsonb<Record<string, unknown>>(),
  status: text<'running' | 'succeeded' | 'undone'>(),
  direction: text<'forward' | 'backward'>(),
  step_index: integer(),
  attempts: integer(),
  revision: integer(),
  next_attempt_at: timestamptz(),
  step_started_at: nullable(timestamptz()),
  lease_token: nullable(uuid()),
  lease_until: nullable(timestamptz()),
  cancel_requested_at: nullable(timestamptz()),
  error_code: nullable(text()),
  error_message: nullable(text()),
  created_at: timestamptz(),
  finished_at: nullable(timestamptz()),
});

export const sagaStepTable = defineTable('saga_step', {
  tenant_id: uuid<TenantId>(),
  saga_id: uuid(),
  position: integer(),
  name: text(),
  state: text<'pending' | 'running' | 'waiting' | 'succeeded' | 'failed' | 'undoing' | 'undone'>(),
  started_at: nullable(timestamptz()),
  finished_at: nullable(timestamptz()),
  error_code: nullable(text()),
  error_message: nullable(text()),
});

export const idempotencyKeyTable = defineTable('idempotency_key', {
  id: uuid(),
  tenant_id: nullable(uuid<TenantId>()),
  actor_id: uuid(),
  key: text(),
  request_sha256: bytea(),
  locked_until: timestamptz(),
  status: nullable(integer()),
  response: nullable(jsonb()),
  created_at: timestamptz(),
});

export const PLATFORM_TABLES = [outboxEventTable, sagaTable, sagaStepTable, idempotencyKeyTable] as const;
