/**
 * platform: the framework plumbing, and the only place with it. Configuration, tenant transactions, queues and outbox,
 * sagas, HTTP, logs. May import kernel and contracts. Knows no business word: features bring those.
 */
export { newDataSource, openDatabase, type DatabaseLogin } from './database/data-source.js';
export { isForeignKeyViolation, isUniqueViolation } from './database/errors.js';
export { PgListener, type PgListenerOptions } from './database/pg-listener.js';
export { migrateDatabase, type MigrateOptions } from './database/migrate.js';
export { platformAccess, platformTable, tenantTable, type TenantTableAccess, type Verb } from './database/policies.js';
export {
  APP_ROLE,
  LOGIN_ROLES,
  type LoginRole,
  OPERATOR_ROLE,
  OWNER_ROLE,
  PLATFORM_ROLES,
  type PlatformRole,
  RECEIVER_ROLE,
  WORKER_ROLE,
} from './database/roles.js';
export {
  bigint,
  boolean,
  bytea,
  type Column,
  defineTable,
  double,
  integer,
  jsonb,
  nullable,
  type RowOf,
  type Table,
  text,
  textArray,
  timestamptz,
  uuid,
  uuidArray,
} from './database/table.js';
export { PLATFORM_TABLES } from './database/tables.js';
export type { AnyTx, PlatformTx, Tx } from './database/tx.js';
export { PlatformUnitOfWork, UnitOfWork } from './database/unit-of-work.js';
export { Loop, type LoopOptions } from './jobs/loop.js';
export { Reconciler, type ReconcilerContext } from './jobs/reconciler.js';
export { Outbox } from './outbox/outbox.js';
export { defineTopic, type EventContext, OutboxHandler, type Topic } from './outbox/topic.js';
export {
  defineSaga,
  type SagaContext,
  type SagaDefinition,
  SagaHandler,
  type SagaStep,
  type SagaStepView,
  type SagaView,
  type StepOutcome,
} from './saga/saga.js';
export { Sagas } from './saga/sagas.js';
