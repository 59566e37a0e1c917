/**
 * supervisor: child processes and embedded services for one machine: `holdfast up`, the demo, the tests.
 * Imports kernel and client. What it starts is ready when its promise resolves, and gone when `stop()` does; nothing it started
 * outlives it, not even after kill -9, and what should survive that is found and ended by the next start.
 */
export { announceFailure, announceProgress, announceReady, exitWithParent } from './announce.js';
export { defaultDataDir } from './data-dir.js';
export { startEmbeddedPostgres, type EmbeddedPostgres, type EmbeddedPostgresOptions } from './embedded-postgres.js';
export { exitCodeOf } from './exit-code.js';
export { freePort } from './free-port.js';
export { startPlatform, type Platform, type PlatformOptions } from './platform.js';
export { runPlatformTask, type PlatformTaskOptions } from './platform-task.js';
export { type PlatformSecrets } from './platform-secrets.js';
export { type AppProcess } from './process-table.js';
export { startRedis, type Redis, type RedisOptions } from './redis.js';
export { SupervisedProcess, type ProcessSpec, type ProcessState } from './supervised-process.js';
