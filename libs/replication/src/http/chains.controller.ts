import { Body, Controller, Get, Param, Post, Query } from '@nestjs/common';
import { z } from 'zod';
import { pageOf, uuid } from '#libs/contracts/common';
import {
  chainCheckView,
  type ChainCheckView,
  chainStatView,
  type ChainStatView,
  createChainCheck,
  pointDiffView,
  type PointDiffView,
} from '#libs/contracts/http';
import { asId, type RecoveryPointId, type RelationshipId, type TenantId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { type Actor, CurrentActor, CurrentTenant, OperatorRoute, TenantRoute } from '#libs/tenancy';
import { ChainQueries, OperatorChainQueries } from '../use-cases/check-chains.js';
import { DiffPoints } from '../use-cases/diff-points.js';

const checksPage = pageOf(chainCheckView);
const statsPage = pageOf(chainStatView);
const diffQuery = z.object({ other: uuid });

/** Replica chains, for people: what they are made of, whether all of it is there, and what changed. No key is needed for any of it. */
@Controller('api/v1')
export class ChainsController {
  constructor(
    private readonly chains: ChainQueries,
    private readonly diffs: DiffPoints,
  ) {}

  @Get('relationships/:id/chain')
  @TenantRoute('replication:read')
  @Responds(200, chainStatView)
  stat(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<ChainStatView> {
    return this.chains.stat(tenantId, asId<RelationshipId>(id));
  }

  @Post('relationships/:id/chain-checks')
  @TenantRoute('replication:write')
  @Responds(202, chainCheckView)
  request(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: createChainCheck }) { bytes }: z.infer<typeof createChainCheck>,
  ): Promise<ChainCheckView> {
    return this.chains.request(tenantId, actor, asId<RelationshipId>(id), bytes);
  }

  @Get('relationships/:id/chain-checks')
  @TenantRoute('replication:read')
  @Responds(200, checksPage)
  async checks(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<z.infer<typeof checksPage>> {
    return { items: await this.chains.checks(tenantId, asId<RelationshipId>(id)), next: null };
  }

  @Get('chain-checks/:id')
  @TenantRoute('replication:read')
  @Responds(200, chainCheckView)
  check(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<ChainCheckView> {
    return this.chains.check(tenantId, id);
  }

  /** What changed between this point and another one of its path. */
  @Get('recovery-points/:id/diff')
  @TenantRoute('replication:read')
  @Responds(200, pointDiffView)
  diff(
    @CurrentTenant() tenantId: TenantId,
    @Param('id', { schema: uuid }) id: string,
    @Query({ schema: diffQuery }) { other }: z.infer<typeof diffQuery>,
  ): Promise<PointDiffView> {
    return this.diffs.execute(tenantId, asId<RecoveryPointId>(id), asId<RecoveryPointId>(other));
  }
}

/** The same for the provider's people, by tenant and in sums. */
@Controller('api/v1/operator')
export class OperatorChainsController {
  constructor(private readonly chains: OperatorChainQueries) {}

  @Get('tenants/:id/chains')
  @OperatorRoute('provider:read')
  @Responds(200, statsPage)
  async stats(@Param('id', { schema: uuid }) id: string): Promise<z.infer<typeof statsPage>> {
    return { items: await this.chains.stats(asId<TenantId>(id)), next: null };
  }
}
