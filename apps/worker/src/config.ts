import { z } from 'zod';
import { keyProviderConfig } from '#libs/agents';
import { databaseConfig, port, redisUrl, secretsConfig } from '#libs/platform';
import { storeConfig, thirdSitesConfig, UPKEEP_CRASH_POINTS } from '#libs/replication';

/** What the worker reads from its environment. */
export const workerConfig = z.object({
  ...databaseConfig.shape,
  ...secretsConfig.shape,
  ...storeConfig.shape,
  ...thirdSitesConfig.shape,
  ...keyProviderConfig.shape,
  /** Some are kept by the locks of what runs in the background: see `RECONCILERS_AT_A_TIME`. */
  DATABASE_POOL_SIZE: z.coerce.number().int().min(10).max(200).default(20),
  REDIS_URL: redisUrl,
  /** How long work may lie about after Redis lost everything. */
  RECONCILE_INTERVAL_MS: z.coerce.number().int().min(100).max(300_000).default(10_000),
  /** Where `/health/live` and `/health/ready` are served on the loopback address. Without it they are not. */
  HEALTH_PORT: port.optional(),
  /** For tests: the worker ends itself, as by a power cut, at this point of looking after a chain. */
  HOLDFAST_CRASH_AT: z.enum(UPKEEP_CRASH_POINTS).optional(),
  JOB_CONCURRENCY: z.coerce.number().int().min(1).max(256).default(16),
});

export type WorkerConfig = z.infer<typeof workerConfig>;
