import { Module } from '@nestjs/common';
import { RevokeReplicaNode } from '#libs/agents';
import { PlatformUnitOfWork, provide } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { ReplicaNodesController } from './http/replica-nodes.controller.js';
import { WatchOwners } from './jobs/watch-owners.js';
import { Broker } from './use-cases/broker.js';
import { TakeCapacityReport } from './use-cases/take-capacity-report.js';

/** What the operator sees and does of the cluster, in the api. */
@Module({ controllers: [ReplicaNodesController], providers: [provide(RevokeReplicaNode, PlatformUnitOfWork, AuditLog)] })
export class ClusterApiModule {}

/** Nodes' reports, in a receiver. */
@Module({ providers: [provide(TakeCapacityReport, PlatformUnitOfWork)] })
export class ClusterReceiverModule {}

/** The broker and its watch, in the worker. */
@Module({ providers: [provide(Broker, PlatformUnitOfWork), provide(WatchOwners, PlatformUnitOfWork, AuditLog)], exports: [Broker] })
export class ClusterWorkerModule {}
