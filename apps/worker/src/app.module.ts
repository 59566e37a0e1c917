import { type DynamicModule, Module } from '@nestjs/common';
import { AgentsWorkerModule, KeyProviderModule } from '#libs/agents';
import { ClusterWorkerModule } from '#libs/cluster';
import { FailoverWorkerModule } from '#libs/failover';
import type { Logger } from '#libs/kernel';
import { JobsModule, loadSecrets, PlatformModule, SignalAt, WORKER_ROLE } from '#libs/platform';
import { ReplicationWorkerModule, StoreModule, ThirdSitesModule } from '#libs/replication';
import { TenancyWorkerModule } from '#libs/tenancy';
import type { WorkerConfig } from './config.js';

/** Every feature that works in the background. */
const FEATURES = [TenancyWorkerModule, AgentsWorkerModule, ClusterWorkerModule, ReplicationWorkerModule, FailoverWorkerModule];

@Module({})
export class WorkerModule {
  static forRoot(config: WorkerConfig, logger: Logger): DynamicModule {
    const platform = PlatformModule.forRoot({
      databaseUrl: config.DATABASE_URL,
      platformDatabaseUrl: config.PLATFORM_DATABASE_URL,
      platformRole: WORKER_ROLE,
      poolSize: config.DATABASE_POOL_SIZE,
      secrets: loadSecrets(config),
      logger,
      ...(config.HOLDFAST_CRASH_AT === undefined ? {} : { crashPoints: new SignalAt(config.HOLDFAST_CRASH_AT, 'SIGKILL') }),
    });
    const { REDIS_URL: redisUrl, RECONCILE_INTERVAL_MS: intervalMs, JOB_CONCURRENCY: concurrency, HEALTH_PORT: healthPort } = config;
    return {
      module: WorkerModule,
      imports: [
        platform,
        StoreModule.forRoot(config),
        ThirdSitesModule.forRoot(config),
        KeyProviderModule.forRoot(config),
        ...FEATURES,
        JobsModule.forRoot({ redisUrl, intervalMs, concurrency, healthPort }),
      ],
    };
  }
}
