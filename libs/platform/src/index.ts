/**
 * platform: the framework plumbing, and the only place with it. Configuration, tenant transactions, queues and outbox,
 * sagas, HTTP, logs. May import kernel and contracts. Knows no business word: features bring those.
 */
export { newDataSource, openDatabase, type DatabaseLogin } from './database/data-source.js';
export { isForeignKeyViolation, isUniqueViolation } from './database/errors.js';
export { migrateDatabase, type MigrateOptions } from './database/migrate.js';
export { platformAccess, platformTable, tenantTable, type TenantTableAccess, type Verb } from './database/policies.js';
export * from './database/roles.js';
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
export type { AnyTx, PlatformTx, Tx } from './database/tx.js';
export { PlatformUnitOfWork, UnitOfWork } from './database/unit-of-work.js';
