/**
 * cluster: the provider's replica nodes, what room they have, and the broker, which decides and knows who owns a replica.
 * May import engines, platform, tenancy and agents.
 *
 * Invariants: a replica has at most one owner; an owner that falls silent stays one, marked, until its replica is known to have
 * stopped; placements are decided one at a time, from rows.
 */
export { ClusterApiModule, ClusterReceiverModule, ClusterWorkerModule } from './cluster.module.js';
export { type Candidate, placeReplica } from './domain/place-replica.js';
export { findOwner, type OwnershipRow } from './tables/ownerships.js';
export { replicaNodeNames } from './tables/replica-nodes.js';
export { CLUSTER_TABLES } from './tables/tables.js';
export { Broker, type Placement } from './use-cases/broker.js';
