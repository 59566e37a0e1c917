import { Module } from '@nestjs/common';
import { Broker, ClusterWorkerModule } from '#libs/cluster';
import { ObjectStore } from '#libs/object-store';
import { PlatformUnitOfWork, provide, Sagas, UnitOfWork } from '#libs/platform';
import { GrantKeys, ReplicationWorkerModule } from '#libs/replication';
import { AuditLog } from '#libs/tenancy';
import { FailoversController } from './http/failovers.controller.js';
import { JobsController } from './http/jobs.controller.js';
import { ReplicaReportsController } from './http/replica-reports.controller.js';
import { CancelSaga } from './jobs/cancel.saga.js';
import { FailoverRemnants } from './jobs/failover-remnants.js';
import { FailoverSaga } from './jobs/failover.saga.js';
import { ReplicaStopper } from './jobs/replica-stopper.js';
import { FailoverQueries } from './use-cases/failover-queries.js';
import { SettleFailover } from './use-cases/settle-failover.js';
import { StartFailover } from './use-cases/start-failover.js';
import { TakeReplicaReports } from './use-cases/take-replica-reports.js';
import { TakeReplicaResults } from './use-cases/take-replica-results.js';

/** What people do, in the api. */
@Module({
  controllers: [FailoversController, JobsController],
  providers: [
    provide(FailoverQueries, UnitOfWork, PlatformUnitOfWork, Sagas),
    provide(StartFailover, UnitOfWork, Sagas, AuditLog),
    provide(SettleFailover, UnitOfWork, Sagas, AuditLog),
  ],
})
export class FailoverApiModule {}

/** What replica nodes say, in a receiver. */
@Module({
  controllers: [ReplicaReportsController],
  providers: [provide(TakeReplicaReports, PlatformUnitOfWork, Sagas), provide(TakeReplicaResults, Sagas)],
})
export class FailoverReceiverModule {}

/** The sagas, in the worker. */
@Module({
  imports: [ClusterWorkerModule, ReplicationWorkerModule],
  providers: [
    provide(ReplicaStopper, UnitOfWork, Broker),
    provide(FailoverSaga, UnitOfWork, ObjectStore, Broker, GrantKeys, ReplicaStopper),
    provide(CancelSaga, UnitOfWork, Broker, ReplicaStopper),
    provide(FailoverRemnants, UnitOfWork, Broker),
  ],
})
export class FailoverWorkerModule {}
