import { fileURLToPath } from 'node:url';
import { CodedError, type Clock } from '#libs/kernel';
import { FileObjectStore } from './file-object-store.js';
import type { ObjectStore } from './object-store.js';
import type { S3ObjectStoreOptions } from './s3-connection.js';
import { S3ObjectStore } from './s3-object-store.js';

/** What an `s3://` address does not say itself. */
export type S3Access = Omit<S3ObjectStoreOptions, 'bucket' | 'keyPrefix'>;

/**
 * Opens `file:///directory` (made where missing) or `s3://bucket/prefix`. `object.address-invalid` for anything else, and for S3 without
 * access. An S3 store is not contacted yet.
 */
export async function openObjectStore(address: string, s3Access?: S3Access, clock?: Clock): Promise<ObjectStore> {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (url?.protocol === 'file:' && url.hostname === '') {
    return FileObjectStore.open(fileURLToPath(url), clock === undefined ? {} : { clock });
  }
  if (url?.protocol === 's3:' && url.hostname !== '') {
    if (s3Access === undefined) throw addressInvalid('an s3:// address needs credentials');
    const keyPrefix = decodeURIComponent(url.pathname).replace(/^\/+|\/+$/g, '');
    return new S3ObjectStore({ ...s3Access, bucket: url.hostname, keyPrefix, ...(clock === undefined ? {} : { clock }) });
  }
  throw addressInvalid('an object store is file:///directory or s3://bucket/prefix');
}

function addressInvalid(message: string): CodedError {
  return new CodedError('object.address-invalid', 'invalid', message);
}
