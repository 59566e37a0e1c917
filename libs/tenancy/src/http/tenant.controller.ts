import { Body, Controller, Get, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { z } from 'zod';
import {
  auditEventsView,
  type AuditQuery,
  auditQuery,
  createUser,
  tenantView,
  type TenantView,
  usersView,
  userView,
  type UserView,
} from '#libs/contracts/http';
import type { TenantId } from '#libs/kernel';
import { Responds, UnitOfWork } from '#libs/platform';
import type { TenantActor } from '../domain/actor.js';
import { tenantNotFound } from '../domain/errors.js';
import { listAuditEvents } from '../tables/audit-events.js';
import { listUsers } from '../tables/people.js';
import { findTenant } from '../tables/tenants.js';
import { auditActorOf } from '../use-cases/audit-log.js';
import { CreateUser } from '../use-cases/create-user.js';
import { CurrentActor, CurrentTenant, RequestId, TenantRoute } from './access.js';
import { toAuditFilter, toAuditPage } from './audit-page.js';
import { toTenantView, toUserView } from './views.js';

/** A tenant's own affairs. */
@ApiTags('tenant')
@Controller('api/v1')
export class TenantController {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly createUser: CreateUser,
  ) {}

  @Get('tenant')
  @TenantRoute('tenant:read')
  @Responds(200, tenantView)
  async own(@CurrentTenant() tenantId: TenantId): Promise<TenantView> {
    const tenant = await this.unitOfWork.run(tenantId, (tx) => findTenant(tx, tenantId));
    if (tenant === undefined) throw tenantNotFound();
    return toTenantView(tenant);
  }

  @Get('users')
  @TenantRoute('users:read')
  @Responds(200, usersView)
  async users(@CurrentTenant() tenantId: TenantId): Promise<z.infer<typeof usersView>> {
    return { items: (await this.unitOfWork.run(tenantId, listUsers)).map(toUserView) };
  }

  @Post('users')
  @TenantRoute('users:write')
  @Responds(201, userView)
  async addUser(
    @CurrentActor() actor: TenantActor,
    @Body({ schema: createUser }) body: z.infer<typeof createUser>,
    @RequestId() requestId: string,
  ): Promise<UserView> {
    return toUserView(await this.createUser.execute(auditActorOf(actor), actor.tenantId, body, requestId));
  }

  @Get('audit-events')
  @TenantRoute('audit:read')
  @Responds(200, auditEventsView)
  async auditEvents(
    @CurrentTenant() tenantId: TenantId,
    @Query({ schema: auditQuery }) query: AuditQuery,
  ): Promise<z.infer<typeof auditEventsView>> {
    const filter = toAuditFilter(query);
    return toAuditPage(await this.unitOfWork.run(tenantId, (tx) => listAuditEvents(tx, tenantId, filter)), filter.limit);
  }
}
