import { Body, Controller, Delete, Get, HttpCode, Param, Post, Put } from '@nestjs/common';
import type { z } from 'zod';
import { pageOf, uuid } from '#libs/contracts/common';
import { extendReplication, extendedReplicationView, type ExtendedReplicationView, thirdSiteView } from '#libs/contracts/http';
import { asId, type RelationshipId, type TenantId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { type Actor, CurrentActor, CurrentTenant, TenantRoute } from '#libs/tenancy';
import { ExtendReplication } from '../use-cases/extend-replication.js';

const extendedPage = pageOf(extendedReplicationView);
const sitesPage = pageOf(thirdSiteView);

/** Extended replication: a VM's chain, carried on to a third site. */
@Controller('api/v1')
export class ExtendedReplicationController {
  constructor(private readonly extended: ExtendReplication) {}

  /** Where chains can be carried on to. */
  @Get('third-sites')
  @TenantRoute('replication:read')
  @Responds(200, sitesPage)
  sites(): z.infer<typeof sitesPage> {
    return { items: this.extended.thirdSites(), next: null };
  }

  @Get('extended-replications')
  @TenantRoute('replication:read')
  @Responds(200, extendedPage)
  async list(@CurrentTenant() tenantId: TenantId): Promise<z.infer<typeof extendedPage>> {
    return { items: await this.extended.list(tenantId), next: null };
  }

  @Get('relationships/:id/extended-replication')
  @TenantRoute('replication:read')
  @Responds(200, extendedReplicationView)
  get(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<ExtendedReplicationView> {
    return this.extended.get(tenantId, asId<RelationshipId>(id));
  }

  /** Turns it on, or changes the site or the frequency. */
  @Put('relationships/:id/extended-replication')
  @TenantRoute('replication:write')
  @Responds(200, extendedReplicationView)
  extend(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: extendReplication }) body: z.infer<typeof extendReplication>,
  ): Promise<ExtendedReplicationView> {
    return this.extended.extend(tenantId, actor, asId<RelationshipId>(id), body);
  }

  @Post('relationships/:id/extended-replication/suspend')
  @TenantRoute('replication:write')
  @HttpCode(200)
  @Responds(200, extendedReplicationView)
  suspend(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<ExtendedReplicationView> {
    return this.extended.suspend(tenantId, actor, asId<RelationshipId>(id));
  }

  @Post('relationships/:id/extended-replication/resume')
  @TenantRoute('replication:write')
  @HttpCode(200)
  @Responds(200, extendedReplicationView)
  resume(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<ExtendedReplicationView> {
    return this.extended.resume(tenantId, actor, asId<RelationshipId>(id));
  }

  /** Nothing more is carried. What is at the third site stays there. */
  @Delete('relationships/:id/extended-replication')
  @TenantRoute('replication:write')
  @HttpCode(204)
  remove(@CurrentTenant() tenantId: TenantId, @CurrentActor() actor: Actor, @Param('id', { schema: uuid }) id: string): Promise<void> {
    return this.extended.remove(tenantId, actor, asId<RelationshipId>(id));
  }
}
