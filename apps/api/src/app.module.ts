import { type DynamicModule, Module } from '@nestjs/common';
import { AgentsHttpModule, AgentsModule, type IdentitySettings, KeyProviderModule } from '#libs/agents';
import { ClusterApiModule } from '#libs/cluster';
import { FailoverApiModule } from '#libs/failover';
import { DAY_MS, type Logger, SECOND_MS } from '#libs/kernel';
import { HttpModule, loadSecrets, OPERATOR_ROLE, PlatformModule } from '#libs/platform';
import { ReplicationApiModule, StoreModule, ThirdSitesModule } from '#libs/replication';
import { TenancyHttpModule } from '#libs/tenancy';
import type { ApiConfig } from './config.js';

/** Every feature that has routes for people. */
const FEATURES = [TenancyHttpModule, AgentsHttpModule, ClusterApiModule, ReplicationApiModule, FailoverApiModule];

@Module({})
export class ApiModule {
  static forRoot(config: ApiConfig, logger: Logger): DynamicModule {
    const platform = PlatformModule.forRoot({
      databaseUrl: config.DATABASE_URL,
      platformDatabaseUrl: config.PLATFORM_DATABASE_URL,
      platformRole: OPERATOR_ROLE,
      poolSize: config.DATABASE_POOL_SIZE,
      secrets: loadSecrets(config),
      logger,
    });
    const agents = AgentsModule.forRoot({ settings: identitySettings(config) });
    return {
      module: ApiModule,
      imports: [
        platform,
        HttpModule.forRoot(),
        StoreModule.forRoot(config),
        ThirdSitesModule.forRoot(config),
        KeyProviderModule.forRoot(config),
        agents,
        ...FEATURES,
      ],
    };
  }
}

function identitySettings(config: ApiConfig): IdentitySettings {
  const scheme = config.TLS_CERT_FILE === undefined ? 'http' : 'https';
  return {
    providerDomain: config.PROVIDER_DOMAIN,
    enrolmentUrls: config.API_URL ?? [`${scheme}://${config.LISTEN_HOST}:${config.LISTEN_PORT}`],
    certificateTtlMs: config.CERTIFICATE_TTL_SECONDS * SECOND_MS,
    tenantDeletionHoldMs: (config.TENANT_DELETION_HOLD_DAYS ?? 7) * DAY_MS,
  };
}
