import { Module } from '@nestjs/common';
import { PlatformUnitOfWork, provide } from '#libs/platform';
import { ReplicaNodesController } from './http/replica-nodes.controller.js';
import { Broker } from './use-cases/broker.js';
import { TakeCapacityReport } from './use-cases/take-capacity-report.js';

/** The operator's view of the cluster, in the api. */
@Module({ controllers: [ReplicaNodesController] })
export class ClusterApiModule {}

/** Nodes' reports, in a receiver. */
@Module({ providers: [provide(TakeCapacityReport, PlatformUnitOfWork)] })
export class ClusterReceiverModule {}

/** The broker, in the worker. */
@Module({ providers: [provide(Broker, PlatformUnitOfWork)], exports: [Broker] })
export class ClusterWorkerModule {}
