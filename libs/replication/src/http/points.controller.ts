import { Body, Controller, Delete, Get, HttpCode, Param, Post, Put } from '@nestjs/common';
import type { z } from 'zod';
import { uuid } from '#libs/contracts/common';
import {
  pinPoint,
  previewRetention,
  recoveryPointView,
  type RecoveryPointView,
  retentionPlanView,
  type RetentionPlanView,
} from '#libs/contracts/http';
import { asId, type RecoveryPointId, type RelationshipId, type TenantId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { type Actor, CurrentActor, CurrentTenant, TenantRoute } from '#libs/tenancy';
import { PlanRetention } from '../use-cases/apply-retention.js';
import { ChangePoints } from '../use-cases/change-points.js';

/** The recovery history: which points stay and why, pins, and removal of single points. */
@Controller('api/v1')
export class PointsController {
  constructor(
    private readonly plan: PlanRetention,
    private readonly points: ChangePoints,
  ) {}

  /** What the policy in force keeps, why, and what it removes next. */
  @Get('relationships/:id/retention-plan')
  @TenantRoute('replication:read')
  @Responds(200, retentionPlanView)
  planInForce(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<RetentionPlanView> {
    return this.plan.execute(tenantId, asId<RelationshipId>(id));
  }

  /** What another policy would do; nothing is changed. */
  @Post('relationships/:id/retention-plan')
  @TenantRoute('replication:read')
  @HttpCode(200)
  @Responds(200, retentionPlanView)
  preview(
    @CurrentTenant() tenantId: TenantId,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: previewRetention }) body: z.infer<typeof previewRetention>,
  ): Promise<RetentionPlanView> {
    return this.plan.execute(tenantId, asId<RelationshipId>(id), body.policy);
  }

  /** Keeps a point until it is unpinned. */
  @Put('recovery-points/:id/pin')
  @TenantRoute('replication:write')
  @Responds(200, recoveryPointView)
  pin(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: pinPoint }) body: z.infer<typeof pinPoint>,
  ): Promise<RecoveryPointView> {
    return this.points.pin(tenantId, actor, asId<RecoveryPointId>(id), body.note);
  }

  /** Leaves the point to the policy again. */
  @Delete('recovery-points/:id/pin')
  @TenantRoute('replication:write')
  @Responds(200, recoveryPointView)
  unpin(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<RecoveryPointView> {
    return this.points.unpin(tenantId, actor, asId<RecoveryPointId>(id));
  }

  /** Remove-VMSnapshot: one point goes for good. */
  @Delete('recovery-points/:id')
  @TenantRoute('replication:write')
  @HttpCode(204)
  async remove(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<void> {
    await this.points.remove(tenantId, actor, asId<RecoveryPointId>(id));
  }
}
