/**
 * failover: brings VMs up on the replica cluster from their recovery points, and settles what follows. May import engines,
 * platform, tenancy, agents, cluster and replication.
 *
 * Invariants: the change of roles is one transaction, and from its commit on the old primary is refused; nothing starts
 * before the fence is durable; each step may run twice, forward and back; a test changes no role.
 */
export { FailoverApiModule, FailoverReceiverModule, FailoverWorkerModule } from './failover.module.js';
export { FailoverRemnants } from './jobs/failover-remnants.js';
export { FAILOVER_TABLES } from './tables/tables.js';
