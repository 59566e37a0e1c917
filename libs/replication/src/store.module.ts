import { type DynamicModule, Module } from '@nestjs/common';
import { z } from 'zod';
import { Clock, Logger, Redacted, SECOND_MS, SystemClock } from '#libs/kernel';
import { ObjectStore, openObjectStore, RetryingObjectStore } from '#libs/object-store';
import { PlatformUnitOfWork, StartGate, UnitOfWork } from '#libs/platform';
import { GuardedObjectStore } from './guarded-object-store.js';
import { CatalogueGuard } from './use-cases/catalogue-guard.js';
import { StoreCheck } from './store.check.js';

const flag = z.enum(['true', 'false']).transform((text) => text === 'true');

/** Where the replica chains lie, as every process that reads or writes them is told. */
export const storeConfig = z.object({
  STORE_URL: z.string({ error: 'give file:///directory or s3://bucket/prefix' }),
  S3_ENDPOINT: z.url().optional(),
  S3_REGION: z.string().default('us-east-1'),
  S3_ACCESS_KEY_ID: z.string().optional(),
  S3_SECRET_ACCESS_KEY: z
    .string()
    .transform((text) => new Redacted(text))
    .optional(),
  S3_FORCE_PATH_STYLE: flag.default(true),
});
export type StoreConfig = z.infer<typeof storeConfig>;

const RETRIES = { attemptsMax: 5, firstDelayMs: 200, delayMaxMs: 5 * SECOND_MS };

/** The configured store, retrying what passes. Throws `object.address-invalid`. */
export async function openConfiguredStore(config: StoreConfig): Promise<ObjectStore> {
  const { S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: secretAccessKey, S3_ENDPOINT: endpoint } = config;
  const access =
    accessKeyId === undefined || secretAccessKey === undefined
      ? undefined
      : {
          accessKeyId,
          secretAccessKey,
          region: config.S3_REGION,
          forcePathStyle: config.S3_FORCE_PATH_STYLE,
          ...(endpoint === undefined ? {} : { endpoint }),
        };
  return new RetryingObjectStore(await openObjectStore(config.STORE_URL, access), RETRIES, new SystemClock());
}

/** The store itself, for those who find out whether it, and this database, are what they should be. */
class OpenedStore {
  constructor(readonly store: ObjectStore) {}
}

/** The process's object store, for every module: closed until the catalogue's guard has looked at it. */
@Module({})
export class StoreModule {
  static forRoot(config: StoreConfig): DynamicModule {
    const opened = { provide: OpenedStore, useFactory: async () => new OpenedStore(await openConfiguredStore(config)) };
    const guarded = {
      provide: ObjectStore,
      useFactory: ({ store }: OpenedStore, gate: StartGate) => new GuardedObjectStore(store, gate),
      inject: [OpenedStore, StartGate],
    };
    const check = { provide: StoreCheck, useFactory: ({ store }: OpenedStore) => new StoreCheck(store), inject: [OpenedStore] };
    const guard = {
      provide: CatalogueGuard,
      useFactory: (
        platform: PlatformUnitOfWork,
        unitOfWork: UnitOfWork,
        { store }: OpenedStore,
        gate: StartGate,
        clock: Clock,
        logger: Logger,
      ) => new CatalogueGuard(platform, unitOfWork, store, gate, clock, logger),
      inject: [PlatformUnitOfWork, UnitOfWork, OpenedStore, StartGate, Clock, Logger],
    };
    return { module: StoreModule, global: true, providers: [opened, guarded, check, guard], exports: [guarded] };
  }
}
