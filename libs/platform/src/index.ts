/**
 * platform: the framework plumbing, and the only place with it. Configuration, tenant transactions, queues and outbox,
 * sagas, HTTP, logs. May import kernel and contracts. Knows no business word: features bring those.
 */
export {
  databaseConfig,
  listenConfig,
  loadConfig,
  loadSecrets,
  port,
  postgresUrl,
  redisUrl,
  secret,
  Secrets,
  secretsConfig,
} from './config/load-config.js';
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
export { StartGate } from './database/start-gate.js';
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
export { exerciseSaga, type SagaExercise } from './saga/exercise-saga.js';
export { SagaRunner, type SagaRunnerOptions } from './saga/saga-runner.js';
export { OutboxRelay, type OutboxRelayOptions } from './outbox/outbox-relay.js';
export { Reconcilers } from './jobs/reconcilers.js';
export { JobsModule, type JobsOptions } from './jobs/jobs.module.js';
export { assertRedisUsable, redisOptions } from './jobs/redis.js';
export { SignalAt } from './signal-at.js';
export { Databases, discover, PlatformModule, type PlatformOptions } from './platform.module.js';
export { provide } from './provide.js';
export { runProcess, type RunningProcess, runToEnd } from './run-process.js';
export { createHttpApp, type HttpApp, type HttpAppOptions, type HttpRoute } from './http/create-http-app.js';
export { HttpModule, Stopping } from './http/http.module.js';
export { ReadinessCheck } from './http/readiness-check.js';
export { IdempotencyInterceptor, SecretAnswer } from './http/idempotency.interceptor.js';
export { openApiDocument } from './http/open-api.js';
export { toProblem } from './http/problem.js';
export type { HttpRequest, Principal } from './http/request.js';
export { DOWNLOAD_RATE, type DownloadRate, pacedAnswer } from './http/paced-answer.js';
export { Responds, validationPipe } from './http/responds.js';
export { sendServerEvents, type ServerEvent } from './http/server-events.js';
export { NestLogger, processLogger } from './observability/nest-logger.js';
