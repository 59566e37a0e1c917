import { Body, Controller, Delete, Get, Param, Post, Query } from '@nestjs/common';
import type { z } from 'zod';
import { pageOf, pageQuery, uuid } from '#libs/contracts/common';
import {
  agentView,
  createdEnrolmentToken,
  createEnrolmentToken,
  enrolmentTokenView,
  revokeAgent,
  type AgentView,
} from '#libs/contracts/http';
import { asId, Clock, type AgentId, type TenantId } from '#libs/kernel';
import { Responds, SecretAnswer, UnitOfWork } from '#libs/platform';
import { CurrentActor, CurrentTenant, TenantRoute, type Actor } from '#libs/tenancy';
import { refusals } from '../domain/errors.js';
import { findAgent, listAgents } from '../tables/identities.js';
import { listEnrolmentTokens } from '../tables/tokens.js';
import { CreateEnrolmentToken } from '../use-cases/create-enrolment-token.js';
import { DeleteEnrolmentToken } from '../use-cases/delete-enrolment-token.js';
import { RevokeAgent } from '../use-cases/revoke-agent.js';
import { asPage, checkedCursor } from './page.js';
import { toAgentView, toTokenView } from './views.js';

const agentsPage = pageOf(agentView);
const tokensPage = pageOf(enrolmentTokenView);
type PageQuery = z.infer<typeof pageQuery>;

@Controller('api/v1')
export class AgentsController {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly createToken: CreateEnrolmentToken,
    private readonly deleteToken: DeleteEnrolmentToken,
    private readonly revokeAgent: RevokeAgent,
    private readonly clock: Clock,
  ) {}

  @Get('agents')
  @TenantRoute('agents:read')
  @Responds(200, agentsPage)
  async list(@CurrentTenant() tenantId: TenantId, @Query({ schema: pageQuery }) query: PageQuery): Promise<z.infer<typeof agentsPage>> {
    const now = this.clock.now();
    return this.unitOfWork.run(tenantId, async (tx) =>
      asPage(await listAgents(tx, checkedCursor(query)), query.limit, (row) => toAgentView(row, now)),
    );
  }

  @Get('agents/:id')
  @TenantRoute('agents:read')
  @Responds(200, agentView)
  async get(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<AgentView> {
    const row = await this.unitOfWork.run(tenantId, (tx) => findAgent(tx, asId<AgentId>(id)));
    if (row === undefined) throw refusals.agentNotFound();
    return toAgentView(row, this.clock.now());
  }

  @Post('agents/:id/revoke')
  @TenantRoute('agents:write')
  @Responds(200, agentView)
  async revoke(
    @CurrentActor() actor: Actor,
    @CurrentTenant() tenantId: TenantId,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: revokeAgent }) body: z.infer<typeof revokeAgent>,
  ): Promise<AgentView> {
    return toAgentView(await this.revokeAgent.execute(actor, tenantId, asId<AgentId>(id), body.reason), this.clock.now());
  }

  @Post('enrolment-tokens')
  @TenantRoute('agents:write')
  @SecretAnswer()
  @Responds(201, createdEnrolmentToken)
  async createEnrolmentToken(
    @CurrentActor() actor: Actor,
    @CurrentTenant() tenantId: TenantId,
    @Body({ schema: createEnrolmentToken }) wish: z.infer<typeof createEnrolmentToken>,
  ): Promise<z.infer<typeof createdEnrolmentToken>> {
    const { row, text } = await this.createToken.forAgent(actor, tenantId, wish);
    return { ...toTokenView(row), token: text.reveal() };
  }

  @Get('enrolment-tokens')
  @TenantRoute('agents:read')
  @Responds(200, tokensPage)
  async listTokens(
    @CurrentTenant() tenantId: TenantId,
    @Query({ schema: pageQuery }) query: PageQuery,
  ): Promise<z.infer<typeof tokensPage>> {
    return this.unitOfWork.run(tenantId, async (tx) =>
      asPage(await listEnrolmentTokens(tx, checkedCursor(query)), query.limit, toTokenView),
    );
  }

  @Delete('enrolment-tokens/:id')
  @TenantRoute('agents:write')
  @Responds(204)
  async removeToken(
    @CurrentActor() actor: Actor,
    @CurrentTenant() tenantId: TenantId,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<void> {
    await this.deleteToken.execute(actor, tenantId, id);
  }
}
