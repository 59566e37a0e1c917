import { S3ServiceException } from '@aws-sdk/client-s3';
import { CodedError, messageOf, PlatformError } from '#libs/kernel';
import { hashMismatch, objectNotFound, storeForbidden, storeFull, storeUnavailable } from './object-errors.js';

const FULL = new Set(['QuotaExceeded', 'EntityTooLarge', 'InsufficientStorage']);
const BODY_REFUSED = new Set(['XAmzContentSHA256Mismatch', 'BadDigest']);

/** What S3 or the network says, in the port's words. Platform errors and the caller's own abort pass as they are. */
export function fromS3Error(key: string, error: unknown): unknown {
  if (error instanceof PlatformError) return error;
  if (!(error instanceof Error)) return error;
  if (error instanceof S3ServiceException) return fromAnswer(key, error);
  if (error.name === 'AbortError') return error;
  if ('$metadata' in error) return storeUnavailable('its answer cannot be read', error);
  return 'code' in error || error.name === 'TimeoutError' ? storeUnavailable(messageOf(error), error) : error;
}

function fromAnswer(key: string, error: S3ServiceException): PlatformError {
  const status = error.$metadata.httpStatusCode ?? 0;
  if (error.name === 'NoSuchBucket') return new CodedError('object.bucket-missing', 'invalid', 'the bucket does not exist', {}, error);
  if (BODY_REFUSED.has(error.name)) return hashMismatch();
  if (FULL.has(error.name) || status === 507) return storeFull(error);
  if (error.name === 'NoSuchUpload') return storeUnavailable('somebody ended the unfinished upload', error);
  if (status === 404) return objectNotFound(key);
  if (status === 416) return new CodedError('object.range-invalid', 'invalid', `the range is not inside object ${key}`, { key }, error);
  if (status === 401 || status === 403) return storeForbidden(error);
  return storeUnavailable(`it answered ${status || 'nothing'} (${error.name})`, error);
}
