import { Module } from '@nestjs/common';
import { ProviderIdentity, TenantKeys } from '#libs/agents';
import { Broker, ClusterWorkerModule } from '#libs/cluster';
import { Clock, CrashPoints } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { KeyProvider } from '#libs/pki';
import { Outbox, PlatformUnitOfWork, provide, Sagas, UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { ChainsController, OperatorChainsController } from './http/chains.controller.js';
import { ExtendedReplicationController } from './http/extended-replication.controller.js';
import { ExportsController } from './http/exports.controller.js';
import { KeysController } from './http/keys.controller.js';
import { PointsController } from './http/points.controller.js';
import { NodeReadingController } from './http/node-reading.controller.js';
import { ReadingController } from './http/reading.controller.js';
import { PublicationsController } from './http/publications.controller.js';
import { ReceiverController } from './http/receiver.controller.js';
import { ReplicationController } from './http/replication.controller.js';
import { OffersController } from './http/offers.controller.js';
import { OperatorRepairsController, RepairsController } from './http/repairs.controller.js';
import { CollectionsController } from './http/collections.controller.js';
import { ScrubsController } from './http/scrubs.controller.js';
import { AdvancePublications } from './jobs/advance-publications.js';
import { ApplyRetentionPolicies } from './jobs/apply-retention-policies.js';
import { ExportRequestedHandler } from './jobs/export-requested.handler.js';
import { FailLostExports } from './jobs/fail-lost-exports.js';
import { MaintainChains } from './jobs/maintain-chains.js';
import { readInstallation } from './tables/installation.js';
import { FollowSource } from './jobs/follow-source.js';
import { LockPromisedObjects } from './jobs/lock-promised-objects.js';
import { CarryChains } from './jobs/carry-chains.js';
import { DamageFoundHandler } from './jobs/damage-found.handler.js';
import { OpenKeys } from './jobs/open-keys.js';
import { PointsRemovedHandler } from './jobs/points-removed.handler.js';
import { RepairChains } from './jobs/repair-chains.js';
import { ReplicaRemnants } from './jobs/replica-remnants.js';
import { RunChainChecks } from './jobs/run-chain-checks.js';
import { RemoveLeftovers } from './jobs/remove-leftovers.js';
import { SweepExports } from './jobs/sweep-exports.js';
import { ScrubChains } from './jobs/scrub-chains.js';
import { TurnKeys } from './jobs/turn-keys.js';
import { AdvancePublication } from './use-cases/advance-publication.js';
import { AgentRelationships } from './use-cases/agent-relationships.js';
import { ApplyRetention, PlanRetention } from './use-cases/apply-retention.js';
import { ChangePoints } from './use-cases/change-points.js';
import { ChangeReplication } from './use-cases/change-replication.js';
import { ChainQueries, OperatorChainQueries, RunChainCheck } from './use-cases/check-chains.js';
import { CommitCycle } from './use-cases/commit-cycle.js';
import { CycleProgress } from './use-cases/cycle-progress.js';
import { CycleUploads } from './use-cases/cycle-uploads.js';
import { DiffPoints } from './use-cases/diff-points.js';
import { EnableReplication } from './use-cases/enable-replication.js';
import { ExportPoint } from './use-cases/export-point.js';
import { ExtendReplication } from './use-cases/extend-replication.js';
import { MendFromCopy } from './use-cases/mend-from-copy.js';
import { GrantKeys } from './use-cases/grant-keys.js';
import { KeepTenantKeys } from './use-cases/keep-tenant-keys.js';
import { KeyQueries } from './use-cases/key-queries.js';
import { OfferRecords } from './use-cases/offer-records.js';
import { OpenCycle } from './use-cases/open-cycle.js';
import { ReadPoints } from './use-cases/read-points.js';
import { HeldCollections } from './use-cases/held-collections.js';
import { OperatorScrubs } from './use-cases/operator-scrubs.js';
import { PublishPoints } from './use-cases/publish-points.js';
import { ReleaseKeys } from './use-cases/release-keys.js';
import { OperatorRepairQueries, RepairQueries } from './use-cases/repair-chains.js';
import { ReplicationQueries } from './use-cases/replication-queries.js';
import { ReportInventory } from './use-cases/report-inventory.js';
import { ResolveReading } from './use-cases/resolve-reading.js';
import { RewrapKeys } from './use-cases/rewrap-keys.js';
import { RenewKeysOfRevokedAgent, RotateDataKey } from './use-cases/rotate-data-key.js';
import { TakeExportProgress } from './use-cases/take-export-progress.js';
import { TakeVerification } from './use-cases/take-verification.js';
import { TakeExportResult } from './use-cases/take-export-result.js';
import { UploadKey } from './use-cases/upload-key.js';
import { FollowedSource, ThirdSites } from './third-sites.js';

/** The tenant's side, in the api. */
@Module({
  controllers: [
    ReplicationController,
    ExtendedReplicationController,
    PointsController,
    KeysController,
    ExportsController,
    PublicationsController,
    ChainsController,
    OperatorChainsController,
    RepairsController,
    OperatorRepairsController,
    CollectionsController,
    ScrubsController,
  ],
  providers: [
    provide(ReplicationQueries, UnitOfWork, Clock),
    provide(EnableReplication, UnitOfWork, AuditLog),
    provide(ChangeReplication, UnitOfWork, AuditLog),
    provide(ExtendReplication, UnitOfWork, ThirdSites, AuditLog),
    provide(ExportPoint, UnitOfWork, ObjectStore, Outbox, AuditLog),
    provide(PublishPoints, UnitOfWork, AuditLog),
    provide(ChainQueries, UnitOfWork, AuditLog),
    provide(RepairQueries, UnitOfWork, AuditLog),
    provide(OperatorRepairQueries, PlatformUnitOfWork, UnitOfWork),
    provide(OperatorScrubs, PlatformUnitOfWork, AuditLog),
    provide(HeldCollections, PlatformUnitOfWork, AuditLog),
    provide(OperatorChainQueries, PlatformUnitOfWork),
    provide(DiffPoints, UnitOfWork, ObjectStore),
    provide(TenantKeys, UnitOfWork, KeyProvider, AuditLog),
    provide(KeyQueries, UnitOfWork),
    provide(RewrapKeys, UnitOfWork, ObjectStore, KeyProvider, AuditLog),
    provide(ReleaseKeys, UnitOfWork, PlatformUnitOfWork, ObjectStore, ProviderIdentity, Sagas, Outbox, AuditLog),
    provide(RotateDataKey, UnitOfWork, AuditLog),
    RenewKeysOfRevokedAgent,
    provide(PlanRetention, UnitOfWork),
    provide(ChangePoints, UnitOfWork, Outbox, AuditLog),
  ],
})
export class ReplicationApiModule {}

/** The agents' side, in a receiver. Needs an {@link ObjectStore} and the agents feature's receiver module. */
@Module({
  controllers: [ReceiverController, ReadingController, NodeReadingController, OffersController],
  providers: [
    provide(ReportInventory, UnitOfWork, AuditLog),
    provide(AgentRelationships, UnitOfWork),
    provide(OpenCycle, UnitOfWork),
    provide(CycleUploads, UnitOfWork, ObjectStore, CrashPoints),
    provide(UploadKey, UnitOfWork, ObjectStore),
    provide(CycleProgress, UnitOfWork),
    provide(CommitCycle, UnitOfWork, ObjectStore, CrashPoints),
    provide(ReadPoints, UnitOfWork, ObjectStore, AuditLog),
    provide(OfferRecords, UnitOfWork, ObjectStore),
    provide(ResolveReading, UnitOfWork),
    provide(TakeExportResult, AuditLog),
    TakeVerification,
    provide(TakeExportProgress, UnitOfWork),
  ],
})
export class ReplicationReceiverModule {}

/** What the worker's sagas and handlers use. Needs the agents feature's keys and an {@link ObjectStore}. */
@Module({
  imports: [ClusterWorkerModule],
  providers: [
    provide(GrantKeys, UnitOfWork, PlatformUnitOfWork, ObjectStore, KeyProvider, AuditLog),
    provide(ExportRequestedHandler, UnitOfWork, Broker, GrantKeys),
    provide(RewrapKeys, UnitOfWork, ObjectStore, KeyProvider, AuditLog),
    {
      provide: TurnKeys,
      useFactory: (...parts: ConstructorParameters<typeof TurnKeys>) => new TurnKeys(...parts),
      inject: [PlatformUnitOfWork, UnitOfWork, ObjectStore, KeyProvider, RewrapKeys, AuditLog],
    },
    {
      provide: OpenKeys,
      useFactory: (...parts: ConstructorParameters<typeof OpenKeys>) => new OpenKeys(...parts),
      inject: [PlatformUnitOfWork, UnitOfWork, ObjectStore, KeyProvider, AuditLog],
    },
    provide(FailLostExports, PlatformUnitOfWork, UnitOfWork),
    provide(SweepExports, PlatformUnitOfWork, UnitOfWork, ObjectStore),
    provide(AdvancePublication, PlatformUnitOfWork, UnitOfWork, ObjectStore, Outbox, CrashPoints),
    provide(AdvancePublications, PlatformUnitOfWork, AdvancePublication),
    provide(RunChainCheck, UnitOfWork, ObjectStore, Clock),
    provide(RunChainChecks, PlatformUnitOfWork, RunChainCheck),
    provide(ApplyRetention, UnitOfWork, Outbox, AuditLog, CrashPoints),
    provide(ApplyRetentionPolicies, PlatformUnitOfWork, ApplyRetention),
    provide(LockPromisedObjects, PlatformUnitOfWork, UnitOfWork, ObjectStore),
    provide(MaintainChains, PlatformUnitOfWork, UnitOfWork, ObjectStore, Clock, CrashPoints),
    provide(RepairChains, PlatformUnitOfWork, UnitOfWork, ObjectStore, Clock, CrashPoints, Broker, GrantKeys),
    provide(ReplicaRemnants, UnitOfWork, ObjectStore, ThirdSites),
    provide(CarryChains, PlatformUnitOfWork, UnitOfWork, ObjectStore, ThirdSites, Clock),
    provide(FollowSource, PlatformUnitOfWork, UnitOfWork, ObjectStore, FollowedSource),
    provide(MendFromCopy, UnitOfWork, ObjectStore, ThirdSites, AuditLog),
    provide(ScrubChains, PlatformUnitOfWork, UnitOfWork, ObjectStore, Clock, MendFromCopy, CrashPoints),
    {
      provide: RemoveLeftovers,
      useFactory: (store: ObjectStore, sites: ThirdSites, clock: Clock, platform: PlatformUnitOfWork) =>
        new RemoveLeftovers(store, sites, clock, () => platform.run(readInstallation)),
      inject: [ObjectStore, ThirdSites, Clock, PlatformUnitOfWork],
    },
    PointsRemovedHandler,
    DamageFoundHandler,
    KeepTenantKeys,
  ],
  exports: [GrantKeys],
})
export class ReplicationWorkerModule {}
