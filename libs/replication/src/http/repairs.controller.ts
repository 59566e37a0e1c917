import { Controller, Get, Param, Post } from '@nestjs/common';
import type { z } from 'zod';
import { pageOf, uuid } from '#libs/contracts/common';
import { chainRepairView, type ChainRepairView } from '#libs/contracts/http';
import { asId, type RelationshipId, type TenantId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { type Actor, CurrentActor, CurrentTenant, OperatorRoute, TenantRoute } from '#libs/tenancy';
import { OperatorRepairQueries, RepairQueries } from '../use-cases/repair-chains.js';

const repairsPage = pageOf(chainRepairView);

/** What of a replica chain is damaged in the store, what may mend it, and the repair of it. */
@Controller('api/v1/relationships/:id/chain-repair')
export class RepairsController {
  constructor(private readonly repairs: RepairQueries) {}

  @Get()
  @TenantRoute('replication:read')
  @Responds(200, chainRepairView)
  view(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<ChainRepairView> {
    return this.repairs.view(tenantId, asId<RelationshipId>(id));
  }

  /** Begins to repair what is damaged and not being repaired yet; the answer does not wait for it. */
  @Post()
  @TenantRoute('replication:write')
  @Responds(202, chainRepairView)
  start(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<ChainRepairView> {
    return this.repairs.start(tenantId, actor, asId<RelationshipId>(id));
  }
}

/** The same for the provider's people: every chain of a tenant that is damaged, or was repaired. */
@Controller('api/v1/operator/tenants/:id/chain-repairs')
export class OperatorRepairsController {
  constructor(private readonly repairs: OperatorRepairQueries) {}

  @Get()
  @OperatorRoute('provider:read')
  @Responds(200, repairsPage)
  async list(@Param('id', { schema: uuid }) id: string): Promise<z.infer<typeof repairsPage>> {
    return { items: await this.repairs.list(asId<TenantId>(id)), next: null };
  }
}
