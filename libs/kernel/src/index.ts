/**
 * kernel: the words everyone shares. Imports nothing, not even Node, so that it loads in a browser too. What stands here must
 * be plain enough that every engine, feature and app can use it: ids, time, units, errors, assertions, retry, logging, secrets.
 */
export { assert, AssertionError, unreachable } from './assert.js';
export { Clock, SystemClock } from './clock.js';
export { CrashPoints, NoCrashPoints } from './crash-points.js';
export {
  asId,
  bytesToId,
  idToBytes,
  isUuid,
  newId,
  type AgentId,
  type AnyId,
  type BranchId,
  type ChainId,
  type CommandId,
  type FailoverId,
  type RecoveryPointId,
  type RelationshipId,
  type ReplicaNodeId,
  type TenantId,
  type UserId,
  type VmId,
} from './ids.js';
export { JsonLinesLogger, Logger, SilentLogger, type LogFields } from './logger.js';
export { CodedError, messageOf, PlatformError, type ErrorDetails, type ErrorKind } from './platform-error.js';
export { Redacted } from './redacted.js';
export { backoffMs, retry, retryDelayMs, type RetryPolicy } from './retry.js';
export { DAY_MS, formatBytes, formatDuration, GIB, HOUR_MS, KIB, MIB, MINUTE_MS, SECOND_MS, TIB } from './units.js';
export { VERSION } from './version.js';
