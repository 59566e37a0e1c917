/**
 * replication: what is protected and what was acknowledged. VMs as agents report them, relationships with their state and
 * health, replication cycles, and the catalogue of replica chains. May import engines, platform, tenancy, agents and cluster.
 *
 * Invariants: an acknowledged cycle's segments, lists and manifest are durable; at most one writer's epoch is accepted, in the
 * transaction that commits; a chain belongs to one tag for ever; a manifest follows its parent without a gap.
 */
export { CYCLE_CRASH_POINTS, type CycleCrashPoint } from './domain/cycle-crash-points.js';
export { REPLICATION_TABLES } from './tables/tables.js';
export { PostgresReplicaCatalogue } from './tables/postgres-replica-catalogue.js';
export { PostgresChainLedger } from './tables/postgres-chain-ledger.js';
export { OpenGate, WriterGate } from './tables/writer-gate.js';
export { ReplicationApiModule, ReplicationReceiverModule, ReplicationWorkerModule } from './replication.module.js';
export { openConfiguredStore, storeConfig, type StoreConfig, StoreModule } from './store.module.js';
export { planRetention, type RetentionPoint } from './domain/retention.js';
export { GuardedObjectStore } from './guarded-object-store.js';
export { ApplyRetentionPolicies } from './jobs/apply-retention-policies.js';
export { ReplicaRemnants } from './jobs/replica-remnants.js';
export { OpenKeys } from './jobs/open-keys.js';
export { TurnKeys } from './jobs/turn-keys.js';
export { RewrapKeys } from './use-cases/rewrap-keys.js';
export { MAINTENANCE_SETTINGS, MaintainChains, type MaintenanceSettings } from './jobs/maintain-chains.js';
export { RepairChains } from './jobs/repair-chains.js';
export { SCRUB_SETTINGS, ScrubChains, type ScrubSettings } from './jobs/scrub-chains.js';
export { CARRY_SETTINGS, CarryChains, type CarrySettings } from './jobs/carry-chains.js';
export { ExtendReplication } from './use-cases/extend-replication.js';
export { MendFromCopy } from './use-cases/mend-from-copy.js';
export { FollowSource } from './jobs/follow-source.js';
export { FollowedSource, ThirdSites } from './third-sites.js';
export { thirdSitesConfig, ThirdSitesModule } from './third-sites.module.js';
export { knownDocuments } from './tables/known-documents.js';
export { PostgresScrubLedger } from './tables/postgres-scrub-ledger.js';
export { FailLostExports } from './jobs/fail-lost-exports.js';
export { SweepExports } from './jobs/sweep-exports.js';
export { LockPromisedObjects } from './jobs/lock-promised-objects.js';
export { UPKEEP_CRASH_POINTS, type UpkeepCrashPoint } from './domain/upkeep-crash-points.js';
export { ApplyRetention } from './use-cases/apply-retention.js';
export { ChangePoints } from './use-cases/change-points.js';
export { HeldCollections } from './use-cases/held-collections.js';
export { endKeyRequest } from './tables/key-requests.js';
export { type PointReader, resolvePoint } from './use-cases/resolve-point.js';
export { AdoptCatalogue, type AdoptedChain, type Adoption, type AdoptionOptions } from './use-cases/adopt-catalogue.js';
export type { KeyVersionReadiness, TenantReadiness } from './use-cases/key-readiness.js';
export { CatalogueGuard } from './use-cases/catalogue-guard.js';
export { GrantKeys } from './use-cases/grant-keys.js';
export { ReleaseKeys } from './use-cases/release-keys.js';
export {
  findPointSource,
  type FrozenRoles,
  lockRoles,
  moveToPrimary,
  moveToReplica,
  type PointDescription,
  readBranchHead,
  readRoles,
  settleOnReplica,
} from './use-cases/role-changes.js';
