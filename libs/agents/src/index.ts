/**
 * agents: who may speak for a primary server or a replica node, and how they are told what to do. Enrolment, identities,
 * revocation, authorization entries and tags, storage locations, commands and reports, and the receivers' door.
 * May import engines, platform and tenancy.
 *
 * Invariants: an enrolment token makes at most one identity; a request counts only if certificate, issuer, row and denylist
 * all agree, asked anew for each request; nothing is allowed without an authorization entry; a command is delivered at least
 * once if the transaction that sent it committed, and its result is handled exactly once.
 */
export {
  AgentsHttpModule,
  AgentsModule,
  AgentsReceiverModule,
  AgentsWorkerModule,
  type AgentsOptions,
  type AgentsReceiverOptions,
} from './agents.module.js';
export { MINIMUM_RATE, guardedUpload, type MinimumRate, type UploadGuardOptions } from './http/guarded-upload.js';
export { CurrentAgent, CurrentPeer, CurrentReplicaNode } from './http/current-peer.js';
export { PeerDirectory } from './http/peer-directory.js';
export { UPLOAD_LIMITS, UploadGate, type UploadLimits, type UploadWish } from './http/upload-gate.js';
export { acceptUploads, Uploads } from './http/uploads.js';
export { ReceiverSelf } from './jobs/receiver-upkeep.js';
export { refusals } from './domain/errors.js';
export type { AgentPeer, Peer, ReplicaNodePeer } from './domain/peer.js';
export { IdentitySettings } from './domain/settings.js';
export {
  activeTenantKey,
  findTenantKey,
  findTenantKeyBySha256,
  listRetiredKeys,
  listTenantKeys,
  markTenantKeyDestroyed,
  readKeyPolicy,
  type TenantKeyRow,
  tenantsWithRetiredKeys,
  writeKeyPolicy,
} from './tables/authorities.js';
export { adoptTenantKeys, listUnrecordedKeys, markKeyRecorded, toTenantKeyRecord } from './tables/recorded-keys.js';
export { toTenantKeyLink } from './domain/tenant-key-link.js';
export { TenantKeys } from './use-cases/tenant-keys.js';
export { findStorageLocation, type StorageLocationRow } from './tables/authorization-entries.js';
export { findCommand, newestCommandOf, sendCommand, type CommandRecipient, type CommandRow, type NewCommand } from './tables/commands.js';
export {
  type ActiveReplicaNode,
  assertAgentStanding,
  findActiveReplicaNode,
  findAgent,
  findAgentBySigningKey,
  listActiveReplicaNodes,
  type AgentRow,
  type ReplicaNodeIdentityRow,
} from './tables/identities.js';
export { DestroyTenants, TenantDestructionHook } from './jobs/destroy-tenants.js';
export { ResealKeys } from './jobs/reseal-keys.js';
export { type Remnants, TenantRemnants } from './use-cases/tenant-remnants.js';
export { AgentRevokedHook } from './use-cases/revoke-agent.js';
export { keyProviderConfig, type KeyProviderConfig, KeyProviderModule, openConfiguredKeyProvider } from './key-provider.module.js';
export { AGENTS_TABLES } from './tables/tables.js';
export { authorizePrimary } from './use-cases/authorize-primary.js';
export { CommandResultHandler, PeerNews, ReportHandler } from './use-cases/handlers.js';
export { ProviderIdentity } from './use-cases/provider-identity.js';
export { RevokeReplicaNode } from './use-cases/revoke-replica-node.js';
export { issueServerCredentials } from './use-cases/server-credentials.js';
