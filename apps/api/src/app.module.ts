import { type DynamicModule, Module } from '@nestjs/common';
import type { Logger } from '#libs/kernel';
import { HttpModule, loadSecrets, OPERATOR_ROLE, PlatformModule } from '#libs/platform';
import { TenancyHttpModule } from '#libs/tenancy';
import type { ApiConfig } from './config.js';

/** Every feature that has routes for people. */
const FEATURES = [TenancyHttpModule];

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
    return { module: ApiModule, imports: [platform, HttpModule.forRoot(), ...FEATURES] };
  }
}
