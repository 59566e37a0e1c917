import { Module, type DynamicModule } from '@nestjs/common';
import { AgentsModule, AgentsReceiverModule, type IdentitySettings, type UploadGate } from '#libs/agents';
import { ClusterReceiverModule } from '#libs/cluster';
import { FailoverReceiverModule } from '#libs/failover';
import type { Logger } from '#libs/kernel';
import type { PeerRegistry } from '#libs/pki';
import { HttpModule, PlatformModule, RECEIVER_ROLE, type Secrets, SignalAt } from '#libs/platform';
import { ReplicationReceiverModule, StoreModule } from '#libs/replication';
import { TenancyModule } from '#libs/tenancy';
import type { ReceiverConfig } from './config.js';

/** Every feature that has routes for agents and replica nodes. */
const FEATURES = [TenancyModule, ClusterReceiverModule, ReplicationReceiverModule, FailoverReceiverModule];

export interface ReceiverParts {
  readonly config: ReceiverConfig;
  readonly secrets: Secrets;
  readonly settings: IdentitySettings;
  readonly registry: PeerRegistry;
  readonly gate: UploadGate;
  readonly version: string;
  readonly logger: Logger;
}

@Module({})
export class ReceiverModule {
  static forRoot({ config, secrets, settings, registry, gate, version, logger }: ReceiverParts): DynamicModule {
    const platform = PlatformModule.forRoot({
      databaseUrl: config.DATABASE_URL,
      platformDatabaseUrl: config.PLATFORM_DATABASE_URL,
      platformRole: RECEIVER_ROLE,
      poolSize: config.DATABASE_POOL_SIZE,
      secrets,
      logger,
      ...crashPointsOf(config),
    });
    const self = { name: config.RECEIVER_NAME, url: config.RECEIVER_URL, version };
    return {
      module: ReceiverModule,
      imports: [
        platform,
        HttpModule.forRoot({ idempotency: false }),
        StoreModule.forRoot(config),
        ...FEATURES,
        AgentsModule.forRoot({ settings }),
        AgentsReceiverModule.forRoot({ self, registry, gate }),
      ],
    };
  }
}

function crashPointsOf({ HOLDFAST_CRASH_AT, HOLDFAST_PAUSE_AT }: ReceiverConfig): { crashPoints?: SignalAt } {
  if (HOLDFAST_CRASH_AT !== undefined) return { crashPoints: new SignalAt(HOLDFAST_CRASH_AT, 'SIGKILL') };
  return HOLDFAST_PAUSE_AT === undefined ? {} : { crashPoints: new SignalAt(HOLDFAST_PAUSE_AT, 'SIGSTOP') };
}
