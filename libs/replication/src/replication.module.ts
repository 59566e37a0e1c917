import { Module } from '@nestjs/common';
import { Clock } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { provide, UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { ReceiverController } from './http/receiver.controller.js';
import { ReplicationController } from './http/replication.controller.js';
import { AgentRelationships } from './use-cases/agent-relationships.js';
import { ChangeReplication } from './use-cases/change-replication.js';
import { CommitCycle } from './use-cases/commit-cycle.js';
import { CycleProgress } from './use-cases/cycle-progress.js';
import { CycleUploads } from './use-cases/cycle-uploads.js';
import { EnableReplication } from './use-cases/enable-replication.js';
import { OpenCycle } from './use-cases/open-cycle.js';
import { ReplicationQueries } from './use-cases/replication-queries.js';
import { ReportInventory } from './use-cases/report-inventory.js';

/** The tenant's side, in the api. */
@Module({
  controllers: [ReplicationController],
  providers: [
    provide(ReplicationQueries, UnitOfWork, Clock),
    provide(EnableReplication, UnitOfWork, AuditLog),
    provide(ChangeReplication, UnitOfWork, AuditLog),
  ],
})
export class ReplicationApiModule {}

/** The agents' side, in a receiver. Needs an {@link ObjectStore} and the agents feature's receiver module. */
@Module({
  controllers: [ReceiverController],
  providers: [
    provide(ReportInventory, UnitOfWork),
    provide(AgentRelationships, UnitOfWork),
    provide(OpenCycle, UnitOfWork),
    provide(CycleUploads, UnitOfWork, ObjectStore),
    provide(CycleProgress, UnitOfWork),
    provide(CommitCycle, UnitOfWork, ObjectStore),
  ],
})
export class ReplicationReceiverModule {}
