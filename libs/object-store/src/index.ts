/**
 * object-store: where sealed bytes live. One port, three adapters (memory, directory, S3) and wrappers that add one behaviour each.
 * Imports the kernel alone. Its invariants: what was acknowledged is durable; what can be seen is durable or made so by the next put;
 * a failed put leaves nothing; an object never changes; a list that ended without an error was whole.
 */
export {
  ObjectStore,
  type ByteRange,
  type Locking,
  type ObjectBody,
  type ObjectEntry,
  type PutOptions,
  type PutOutcome,
} from './object-store.js';
export { assertObjectKey, OBJECT_KEY_LENGTH_MAX } from './object-key.js';
export { putBytes, sha256Hex } from './put-bytes.js';
export { MemoryObjectStore, type MemoryObjectStoreOptions } from './memory-object-store.js';
export { FileObjectStore, type FileObjectStoreOptions } from './file-object-store.js';
export { S3ObjectStore } from './s3-object-store.js';
export type { S3ObjectStoreOptions } from './s3-connection.js';
export { openObjectStore, type S3Access } from './open-object-store.js';
export { WrappedObjectStore } from './wrapped-object-store.js';
export { RetryingObjectStore } from './retrying-object-store.js';
export { FaultyObjectStore, type Fault, type ScriptedFault } from './faulty-object-store.js';
export { MeteredObjectStore, type CallTotals, type ObjectStoreCall, type ObjectStoreOperation } from './metered-object-store.js';
export { ThrottledObjectStore, type ThrottleLimits } from './throttled-object-store.js';
export { PrefixedObjectStore } from './prefixed-object-store.js';
