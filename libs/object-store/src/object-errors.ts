import { CodedError, messageOf, PlatformError } from '#libs/kernel';
import type { ByteRange } from './object-store.js';

export function objectNotFound(key: string): CodedError {
  return new CodedError('object.not-found', 'not-found', `no object ${key}`, { key });
}

export function rangeInvalid(key: string, range: ByteRange, sizeBytes?: number): CodedError {
  const details = { key, ...range, ...(sizeBytes === undefined ? {} : { sizeBytes }) };
  return new CodedError('object.range-invalid', 'invalid', `the range is not inside object ${key}`, details);
}

export function objectConflict(key: string): CodedError {
  return new CodedError('object.conflict', 'conflict', `object ${key} exists with other content`, { key });
}

export function objectLocked(key: string, until?: Date): CodedError {
  const details = until === undefined ? { key } : { key, until: until.toISOString() };
  return new CodedError(
    'object.locked',
    'conflict',
    `object ${key} is locked${until === undefined ? '' : ` until ${details.until}`}`,
    details,
  );
}

export function lockUnsupported(): CodedError {
  return new CodedError('object.lock-unsupported', 'invalid', 'this object store cannot lock objects');
}

/** The store's listing contradicts itself: what it did not tell may be there. */
export function listingBroken(reason: string): CodedError {
  return new CodedError('object.listing-broken', 'unavailable', `the listing cannot be trusted: ${reason}`);
}

export function sizeMismatch(expectedBytes: number, foundBytes: number): CodedError {
  const message = `the body has ${foundBytes < expectedBytes ? 'fewer' : 'more'} bytes than declared`;
  return new CodedError('object.size-mismatch', 'invalid', message, { expectedBytes, foundBytes });
}

export function hashMismatch(): CodedError {
  return new CodedError('object.hash-mismatch', 'invalid', 'the body does not have the declared SHA-256');
}

export function storeFull(cause?: unknown): CodedError {
  return new CodedError('object.store-full', 'exhausted', 'the object store has no room left', {}, cause);
}

export function storeForbidden(cause?: unknown): CodedError {
  return new CodedError('object.store-forbidden', 'forbidden', 'the object store refuses these credentials', {}, cause);
}

export function storeUnavailable(reason: string, cause?: unknown): CodedError {
  return new CodedError('object.store-unavailable', 'unavailable', `the object store is unavailable: ${reason}`, {}, cause);
}

/** What the file system says, in the port's words. Abort reasons and platform errors pass as they are. */
export function fromFileError(key: string, error: unknown): unknown {
  if (error instanceof PlatformError) return error;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOENT':
      return objectNotFound(key);
    case 'ENOSPC':
    case 'EDQUOT':
      return storeFull(error);
    case 'ENOTDIR':
    case 'EISDIR':
      return objectConflict(key);
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return storeForbidden(error);
    default:
      return typeof code === 'string' && code.startsWith('E') ? storeUnavailable(messageOf(error), error) : error;
  }
}

/** Throws `object.range-invalid` unless `range` lies inside an object of `sizeBytes`. */
export function assertRangeInside(key: string, range: ByteRange, sizeBytes: number): void {
  assertRange(key, range);
  if (range.offset + range.length > sizeBytes) throw rangeInvalid(key, range, sizeBytes);
}

/** Throws `object.range-invalid` for what can be no range of any object. */
export function assertRange(key: string, { offset, length }: ByteRange): void {
  const isRange = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 1;
  if (!isRange) throw rangeInvalid(key, { offset, length });
}
