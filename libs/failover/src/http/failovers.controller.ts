import { Body, Controller, Get, Header, Param, Post, Query, Req, Res, StreamableFile } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { pageOf, uuid } from '#libs/contracts/common';
import { failoverView, type FailoverView, startFailover } from '#libs/contracts/http';
import { asId, Clock, CodedError, type FailoverId, type RecoveryPointId, type RelationshipId, type TenantId } from '#libs/kernel';
import { Responds, sendServerEvents, type ServerEvent, Stopping } from '#libs/platform';
import { type Actor, CurrentActor, CurrentTenant, TenantRoute } from '#libs/tenancy';
import { FailoverQueries } from '../use-cases/failover-queries.js';
import { SettleFailover } from '../use-cases/settle-failover.js';
import { StartFailover } from '../use-cases/start-failover.js';

const failoversPage = pageOf(failoverView);
const listQuery = z.object({ relationshipId: uuid.optional(), limit: z.coerce.number().int().min(1).max(200).default(50) });

/** How often a watched failover is looked at. */
const WATCH_INTERVAL_MS = 500;

@Controller('api/v1')
export class FailoversController {
  constructor(
    private readonly queries: FailoverQueries,
    private readonly startUseCase: StartFailover,
    private readonly settle: SettleFailover,
    private readonly stopping: Stopping,
    private readonly clock: Clock,
  ) {}

  @Get('failovers')
  @TenantRoute('failover:read')
  @Responds(200, failoversPage)
  async list(
    @CurrentTenant() tenantId: TenantId,
    @Query({ schema: listQuery }) query: z.infer<typeof listQuery>,
  ): Promise<z.infer<typeof failoversPage>> {
    const relationshipId = query.relationshipId === undefined ? null : asId<RelationshipId>(query.relationshipId);
    return { items: await this.queries.list(tenantId, relationshipId, query.limit), next: null };
  }

  /** Start-VMFailover. */
  @Post('relationships/:id/failovers')
  @TenantRoute('failover:write')
  @Responds(202, failoverView)
  async start(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: startFailover }) body: z.infer<typeof startFailover>,
  ): Promise<FailoverView> {
    const recoveryPointId = body.recoveryPointId === undefined ? undefined : asId<RecoveryPointId>(body.recoveryPointId);
    const wish = { relationshipId: asId<RelationshipId>(id), type: body.type, recoveryPointId, allowDamaged: body.allowDamaged };
    const row = await this.startUseCase.execute(tenantId, actor, wish);
    return this.queries.get(tenantId, row.id);
  }

  @Get('failovers/:id')
  @TenantRoute('failover:read')
  @Responds(200, failoverView)
  get(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<FailoverView> {
    return this.queries.get(tenantId, asId<FailoverId>(id));
  }

  /** The failover again each time that it changed, as server-sent events named `failover`. */
  @Get('failovers/:id/events')
  @TenantRoute('failover:read')
  async events(
    @CurrentTenant() tenantId: TenantId,
    @Param('id', { schema: uuid }) id: string,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const failoverId = asId<FailoverId>(id);
    await this.queries.get(tenantId, failoverId);
    await sendServerEvents(request, reply, this.stopping.signal, (signal) => this.watch(tenantId, failoverId, signal));
  }

  @Get('failovers/:id/screenshot')
  @TenantRoute('failover:read')
  @Header('content-type', 'image/png')
  @Header('cache-control', 'private, no-store')
  async screenshot(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<StreamableFile> {
    const png = await this.queries.screenshot(tenantId, asId<FailoverId>(id));
    if (png === null) throw new CodedError('screenshot.not-found', 'not-found', 'there is no picture of this VM console yet');
    return new StreamableFile(png, { type: 'image/png' });
  }

  /** Complete-VMFailover. */
  @Post('failovers/:id/complete')
  @TenantRoute('failover:write')
  @Responds(200, failoverView)
  async complete(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<FailoverView> {
    const row = await this.settle.complete(tenantId, actor, asId<FailoverId>(id));
    return this.queries.get(tenantId, row.id);
  }

  /** Stop-VMFailover. */
  @Post('failovers/:id/cancel')
  @TenantRoute('failover:write')
  @Responds(202, failoverView)
  async cancel(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<FailoverView> {
    const row = await this.settle.cancel(tenantId, actor, asId<FailoverId>(id));
    return this.queries.get(tenantId, row.id);
  }

  private async *watch(tenantId: TenantId, id: FailoverId, signal: AbortSignal): AsyncGenerator<ServerEvent> {
    let sent = '';
    while (!signal.aborted) {
      const view = await this.queries.get(tenantId, id);
      const text = JSON.stringify(view);
      if (text !== sent) yield { event: 'failover', data: view };
      sent = text;
      await this.clock.sleep(WATCH_INTERVAL_MS, signal).catch(() => undefined);
    }
  }
}
