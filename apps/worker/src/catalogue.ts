import { z } from 'zod';
import { keyProviderConfig, openConfiguredKeyProvider } from '#libs/agents';
import { asId, type Redacted, type TenantId } from '#libs/kernel';
import {
  APP_ROLE,
  databaseConfig,
  loadConfig,
  loadSecrets,
  openDatabase,
  PlatformUnitOfWork,
  processLogger,
  runToEnd,
  secretsConfig,
  UnitOfWork,
  WORKER_ROLE,
} from '#libs/platform';
import { AdoptCatalogue, openConfiguredStore, storeConfig } from '#libs/replication';
import { announceProgress, announceReady } from '#libs/supervisor';

const flag = z.enum(['true', 'false']).default('false');

const catalogueConfig = z.object({
  ...databaseConfig.shape,
  ...storeConfig.shape,
  ...secretsConfig.shape,
  ...keyProviderConfig.shape,
  CATALOGUE_DRY_RUN: flag,
  CATALOGUE_GIVE_UP_DAMAGED: flag,
  CATALOGUE_TENANT: z.string().optional(),
});

const logger = processLogger('catalogue');

/** Brings the database to what the store tells, says what that was, and ends. */
await runToEnd(logger, async () => {
  const config = loadConfig(catalogueConfig, process.env);
  const store = await openConfiguredStore(config);
  const open = (url: Redacted, name: string, role: typeof APP_ROLE | typeof WORKER_ROLE) => openDatabase({ url, name, role, poolSize: 2 });
  const tenants = await open(config.DATABASE_URL, 'DATABASE_URL', APP_ROLE);
  const platform = await open(config.PLATFORM_DATABASE_URL, 'PLATFORM_DATABASE_URL', WORKER_ROLE);
  const { kek, previousKek } = loadSecrets(config);
  const keyProvider = await openConfiguredKeyProvider(config, kek, previousKek);
  const adoption = await new AdoptCatalogue(new PlatformUnitOfWork(platform), new UnitOfWork(tenants), store, keyProvider).execute({
    isDryRun: config.CATALOGUE_DRY_RUN === 'true',
    givesUpDamaged: config.CATALOGUE_GIVE_UP_DAMAGED === 'true',
    ...(config.CATALOGUE_TENANT === undefined ? {} : { tenantId: asId<TenantId>(config.CATALOGUE_TENANT) }),
    signal: new AbortController().signal,
    onChain: (chain) => {
      logger.info({ ...chain }, 'a chain was read from the store');
      announceProgress({ ...chain, damaged: chain.damaged.length });
    },
  });
  announceReady({ adoption });
  await Promise.all([tenants.destroy(), platform.destroy()]);
});
