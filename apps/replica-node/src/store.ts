import { CodedError, SECOND_MS, type Clock } from '#libs/kernel';
import { openObjectStore, RetryingObjectStore, type ObjectStore, type S3Access } from '#libs/object-store';
import type { ReplicaNodeConfig } from './config.js';

const RETRIES = { attemptsMax: 4, firstDelayMs: 100, delayMaxMs: 2 * SECOND_MS };

/** The provider's store, retrying what passes. Throws `config.invalid`, `object.address-invalid`. */
export async function openStore(config: ReplicaNodeConfig, clock: Clock): Promise<ObjectStore> {
  if (config.STORE_URL === undefined) throw new CodedError('config.invalid', 'invalid', 'give STORE_URL');
  return new RetryingObjectStore(await openObjectStore(config.STORE_URL, s3AccessOf(config), clock), RETRIES, clock);
}

function s3AccessOf(config: ReplicaNodeConfig): S3Access | undefined {
  const { S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: secretAccessKey, S3_ENDPOINT: endpoint } = config;
  if (accessKeyId === undefined || secretAccessKey === undefined) return undefined;
  return {
    accessKeyId,
    secretAccessKey,
    region: config.S3_REGION,
    forcePathStyle: config.S3_FORCE_PATH_STYLE,
    ...(endpoint === undefined ? {} : { endpoint }),
  };
}
