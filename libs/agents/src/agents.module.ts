import { Global, Module, type DynamicModule } from '@nestjs/common';
import { APP_GUARD, APP_INTERCEPTOR, DiscoveryService, Reflector } from '@nestjs/core';
import { Clock, Logger } from '#libs/kernel';
import { KeyProvider, PeerRegistry } from '#libs/pki';
import { Databases, discover, PlatformUnitOfWork, provide, Secrets, Stopping, UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { IdentitySettings } from './domain/settings.js';
import { AgentsController } from './http/agents.controller.js';
import { AuthorizationEntriesController } from './http/authorization-entries.controller.js';
import { CommandsController } from './http/commands.controller.js';
import { EnrolmentController } from './http/enrolment.controller.js';
import { IdentityController } from './http/identity.controller.js';
import { AgentsOperatorController } from './http/operator.controller.js';
import { PeerDirectory } from './http/peer-directory.js';
import { PeerGuard } from './http/peer.guard.js';
import { RefusalInterceptor } from './http/refusal.interceptor.js';
import { KeyEncryptionCheck } from './http/key-encryption.check.js';
import { StandingCheck } from './http/standing.check.js';
import { RefusalLog } from './http/refusal-log.js';
import { UploadGate } from './http/upload-gate.js';
import { Uploads } from './http/uploads.js';
import { DestroyTenants, TenantDestructionHook } from './jobs/destroy-tenants.js';
import { ResealKeys } from './jobs/reseal-keys.js';
import { SweepIdentities } from './jobs/sweep-identities.js';
import { ReceiverSelf, ReceiverUpkeep } from './jobs/receiver-upkeep.js';
import { IdentityTransactions } from './tables/identity-transactions.js';
import { CreateEnrolmentToken } from './use-cases/create-enrolment-token.js';
import { TenantDeletionController } from './http/tenant-deletion.controller.js';
import { DeleteTenant } from './use-cases/delete-tenant.js';
import { DeleteEnrolmentToken } from './use-cases/delete-enrolment-token.js';
import { EnrolIdentity } from './use-cases/enrol-identity.js';
import { EquipTenant } from './use-cases/equip-tenant.js';
import { FinishCommand } from './use-cases/finish-command.js';
import { PeerNews } from './use-cases/handlers.js';
import { CreateAuthorizationEntry, DeleteAuthorizationEntry } from './use-cases/manage-authorization-entries.js';
import { ProviderIdentity } from './use-cases/provider-identity.js';
import { ReceiveCommands } from './use-cases/receive-commands.js';
import { RenewIdentity } from './use-cases/renew-identity.js';
import { AgentRevokedHook, RevokeAgent } from './use-cases/revoke-agent.js';
import { TenantKeys } from './use-cases/tenant-keys.js';
import { TakeReport } from './use-cases/take-report.js';
import { TenantRemnants } from './use-cases/tenant-remnants.js';
import { WakeUps } from './use-cases/wake-ups.js';

export interface AgentsOptions {
  readonly settings: IdentitySettings;
}

/** What every process has of this feature: the authorities. Needs `Secrets`. */
@Global()
@Module({})
export class AgentsModule {
  static forRoot({ settings }: AgentsOptions): DynamicModule {
    const shared = [
      { provide: IdentitySettings, useValue: settings },
      provide(IdentityTransactions, UnitOfWork, PlatformUnitOfWork),
      provide(ProviderIdentity, PlatformUnitOfWork, IdentitySettings, Secrets, Clock),
    ];
    const providers = [...shared, provide(KeyEncryptionCheck, ProviderIdentity)];
    return { module: AgentsModule, providers, exports: shared };
  }
}

/** The api's part: enrolment, and what people do about agents. Needs {@link AgentsModule} and {@link KeyProviderModule}. */
@Module({
  controllers: [EnrolmentController, AgentsController, AuthorizationEntriesController, AgentsOperatorController, TenantDeletionController],
  providers: [
    provide(EquipTenant, ProviderIdentity),
    provide(TenantKeys, UnitOfWork, KeyProvider, AuditLog),
    provide(CreateEnrolmentToken, UnitOfWork, PlatformUnitOfWork, ProviderIdentity, TenantKeys, IdentitySettings, Secrets, AuditLog),
    provide(DeleteEnrolmentToken, UnitOfWork, AuditLog),
    provide(EnrolIdentity, UnitOfWork, PlatformUnitOfWork, ProviderIdentity, Secrets, AuditLog),
    {
      provide: RevokeAgent,
      useFactory: (unitOfWork: UnitOfWork, audit: AuditLog, discovery: DiscoveryService) =>
        new RevokeAgent(unitOfWork, audit, () => discover(discovery, AgentRevokedHook)),
      inject: [UnitOfWork, AuditLog, DiscoveryService],
    },
    provide(DeleteTenant, PlatformUnitOfWork, IdentitySettings, AuditLog),
    provide(CreateAuthorizationEntry, UnitOfWork, AuditLog),
    provide(DeleteAuthorizationEntry, UnitOfWork, AuditLog),
  ],
})
export class AgentsHttpModule {}

/** The worker's part. */
@Module({
  providers: [
    provide(SweepIdentities, PlatformUnitOfWork),
    provide(ResealKeys, PlatformUnitOfWork, KeyProvider, Secrets, AuditLog),
    {
      provide: DestroyTenants,
      useFactory: (
        platform: PlatformUnitOfWork,
        unitOfWork: UnitOfWork,
        keyProvider: KeyProvider,
        audit: AuditLog,
        discovery: DiscoveryService,
      ) => {
        const remnants = () => discover(discovery, TenantRemnants);
        return new DestroyTenants(platform, unitOfWork, keyProvider, audit, remnants, () => discover(discovery, TenantDestructionHook));
      },
      inject: [PlatformUnitOfWork, UnitOfWork, KeyProvider, AuditLog, DiscoveryService],
    },
  ],
})
export class AgentsWorkerModule {}

export interface AgentsReceiverOptions {
  readonly self: ReceiverSelf;
  /** The listener's: filled by `attachPeerIdentity`. */
  readonly registry: PeerRegistry;
  /** The listener's: `acceptUploads` has it too. */
  readonly gate: UploadGate;
}

/** The receiver's part: its guard before every route, identities, commands, reports. Global: later features send their uploads through it. */
@Global()
@Module({})
export class AgentsReceiverModule {
  static forRoot({ self, registry, gate }: AgentsReceiverOptions): DynamicModule {
    const exported = [
      provide(PeerDirectory, IdentityTransactions, PlatformUnitOfWork, PeerRegistry, Clock),
      { provide: UploadGate, useValue: gate },
      provide(Uploads, UploadGate, Clock),
    ];
    return {
      module: AgentsReceiverModule,
      controllers: [IdentityController, CommandsController],
      providers: [
        ...exported,
        { provide: PeerRegistry, useValue: registry },
        { provide: ReceiverSelf, useValue: self },
        WakeUps,
        provide(PeerNews, DiscoveryService),
        provide(RefusalLog, IdentityTransactions, AuditLog, Clock, Logger),
        provide(RenewIdentity, IdentityTransactions, PlatformUnitOfWork, ProviderIdentity, AuditLog, Logger),
        provide(ReceiveCommands, IdentityTransactions, WakeUps, Clock),
        provide(FinishCommand, UnitOfWork, PlatformUnitOfWork, PeerNews),
        provide(TakeReport, IdentityTransactions, PeerNews),
        UPKEEP,
        { provide: StandingCheck, useFactory: (directory: PeerDirectory) => new StandingCheck(directory), inject: [PeerDirectory] },
        {
          provide: APP_GUARD,
          useFactory: (...parts: ConstructorParameters<typeof PeerGuard>) => new PeerGuard(...parts),
          inject: [PeerDirectory, RefusalLog, Reflector],
        },
        { provide: APP_INTERCEPTOR, useFactory: (log: RefusalLog) => new RefusalInterceptor(log), inject: [RefusalLog] },
      ],
      exports: exported,
    };
  }
}

const UPKEEP = {
  provide: ReceiverUpkeep,
  useFactory: (
    self: ReceiverSelf,
    databases: Databases,
    platform: PlatformUnitOfWork,
    directory: PeerDirectory,
    registry: PeerRegistry,
    gate: UploadGate,
    wakeUps: WakeUps,
    stopping: Stopping,
    clock: Clock,
    logger: Logger,
  ) =>
    new ReceiverUpkeep({ self, databaseUrl: databases.platformUrl, platform, directory, registry, gate, wakeUps, stopping, clock, logger }),
  inject: [ReceiverSelf, Databases, PlatformUnitOfWork, PeerDirectory, PeerRegistry, UploadGate, WakeUps, Stopping, Clock, Logger],
};
