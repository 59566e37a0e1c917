import { Body, Controller, Delete, Get, HttpCode, Param, Post, Put, Query } from '@nestjs/common';
import { z } from 'zod';
import { pageOf, uuid } from '#libs/contracts/common';
import {
  changeReplication,
  cycleView,
  enableReplication,
  recoveryPointView,
  relationshipView,
  type RelationshipView,
  vmView,
  type VmView,
} from '#libs/contracts/http';
import { asId, type RecoveryPointId, type RelationshipId, type TenantId, type VmId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { type Actor, CurrentActor, CurrentTenant, TenantRoute } from '#libs/tenancy';
import { ChangeReplication } from '../use-cases/change-replication.js';
import { EnableReplication } from '../use-cases/enable-replication.js';
import { ReplicationQueries } from '../use-cases/replication-queries.js';

const listQuery = z.object({ limit: z.coerce.number().int().min(1).max(1000).default(200) });
type ListQuery = z.infer<typeof listQuery>;
const vmsPage = pageOf(vmView);
const relationshipsPage = pageOf(relationshipView);
const cyclesPage = pageOf(cycleView);
const pointsPage = pageOf(recoveryPointView);

/** All of it: these lists are bounded by what one tenant protects. */
const whole = <T>(items: T[]): { items: T[]; next: null } => ({ items, next: null });

@Controller('api/v1')
export class ReplicationController {
  constructor(
    private readonly queries: ReplicationQueries,
    private readonly enable: EnableReplication,
    private readonly change: ChangeReplication,
  ) {}

  @Get('vms')
  @TenantRoute('replication:read')
  @Responds(200, vmsPage)
  async vms(@CurrentTenant() tenantId: TenantId): Promise<z.infer<typeof vmsPage>> {
    return whole(await this.queries.virtualMachines(tenantId));
  }

  @Get('vms/:id')
  @TenantRoute('replication:read')
  @Responds(200, vmView)
  vm(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<VmView> {
    return this.queries.virtualMachine(tenantId, asId<VmId>(id));
  }

  @Get('relationships')
  @TenantRoute('replication:read')
  @Responds(200, relationshipsPage)
  async list(@CurrentTenant() tenantId: TenantId): Promise<z.infer<typeof relationshipsPage>> {
    return whole(await this.queries.relationships(tenantId));
  }

  /** Enable-VMReplication. */
  @Post('relationships')
  @TenantRoute('replication:write')
  @Responds(201, relationshipView)
  async create(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Body({ schema: enableReplication }) body: z.infer<typeof enableReplication>,
  ): Promise<RelationshipView> {
    const { id } = await this.enable.execute(tenantId, actor, asId<VmId>(body.vmId), body.policy);
    return this.queries.relationship(tenantId, asId<RelationshipId>(id));
  }

  @Get('relationships/:id')
  @TenantRoute('replication:read')
  @Responds(200, relationshipView)
  get(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<RelationshipView> {
    return this.queries.relationship(tenantId, asId<RelationshipId>(id));
  }

  /** Set-VMReplication. */
  @Put('relationships/:id/policy')
  @TenantRoute('replication:write')
  @Responds(200, relationshipView)
  async changePolicy(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: changeReplication }) body: z.infer<typeof changeReplication>,
  ): Promise<RelationshipView> {
    await this.change.changePolicy(tenantId, actor, asId<RelationshipId>(id), body.policy);
    return this.queries.relationship(tenantId, asId<RelationshipId>(id));
  }

  /** Suspend-VMReplication. */
  @Post('relationships/:id/suspend')
  @TenantRoute('replication:write')
  @Responds(200, relationshipView)
  async suspend(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<RelationshipView> {
    await this.change.suspend(tenantId, actor, asId<RelationshipId>(id));
    return this.queries.relationship(tenantId, asId<RelationshipId>(id));
  }

  /** Resume-VMReplication. */
  @Post('relationships/:id/resume')
  @TenantRoute('replication:write')
  @Responds(200, relationshipView)
  async resume(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<RelationshipView> {
    await this.change.resume(tenantId, actor, asId<RelationshipId>(id));
    return this.queries.relationship(tenantId, asId<RelationshipId>(id));
  }

  /** Runs a replication cycle now. */
  @Post('relationships/:id/replicate')
  @TenantRoute('replication:write')
  @Responds(202, relationshipView)
  async replicate(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<RelationshipView> {
    await this.change.replicateNow(tenantId, actor, asId<RelationshipId>(id));
    return this.queries.relationship(tenantId, asId<RelationshipId>(id));
  }

  /** Remove-VMReplication. */
  @Delete('relationships/:id')
  @TenantRoute('replication:write')
  @HttpCode(204)
  async remove(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<void> {
    await this.change.remove(tenantId, actor, asId<RelationshipId>(id));
  }

  @Get('relationships/:id/cycles')
  @TenantRoute('replication:read')
  @Responds(200, cyclesPage)
  async cycles(
    @CurrentTenant() tenantId: TenantId,
    @Param('id', { schema: uuid }) id: string,
    @Query({ schema: listQuery }) query: ListQuery,
  ): Promise<z.infer<typeof cyclesPage>> {
    return whole(await this.queries.cycles(tenantId, asId<RelationshipId>(id), query.limit));
  }

  @Get('relationships/:id/recovery-points')
  @TenantRoute('replication:read')
  @Responds(200, pointsPage)
  async points(
    @CurrentTenant() tenantId: TenantId,
    @Param('id', { schema: uuid }) id: string,
    @Query({ schema: listQuery }) query: ListQuery,
  ): Promise<z.infer<typeof pointsPage>> {
    return whole(await this.queries.recoveryPoints(tenantId, asId<RelationshipId>(id), query.limit));
  }

  @Get('relationships/:id/recovery-points/:pointId')
  @TenantRoute('replication:read')
  @Responds(200, recoveryPointView)
  point(
    @CurrentTenant() tenantId: TenantId,
    @Param('id', { schema: uuid }) id: string,
    @Param('pointId', { schema: uuid }) pointId: string,
  ): Promise<z.infer<typeof recoveryPointView>> {
    return this.queries.recoveryPoint(tenantId, asId<RelationshipId>(id), asId<RecoveryPointId>(pointId));
  }
}
