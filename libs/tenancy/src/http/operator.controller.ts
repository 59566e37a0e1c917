import { Body, Controller, Get, Param, Post, Put, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { z } from 'zod';
import { pageQuery, uuid } from '#libs/contracts/common';
import {
  auditEventsView,
  type AuditQuery,
  auditQuery,
  createTenant,
  createUser,
  renameTenant,
  tenantsView,
  tenantView,
  type TenantView,
  userView,
  type UserView,
} from '#libs/contracts/http';
import { asId, CodedError, isUuid, type TenantId } from '#libs/kernel';
import { PlatformUnitOfWork, Responds } from '#libs/platform';
import type { OperatorActor } from '../domain/actor.js';
import { tenantNotFound } from '../domain/errors.js';
import { listAuditEvents } from '../tables/audit-events.js';
import { findTenant, listTenants } from '../tables/tenants.js';
import { auditActorOf } from '../use-cases/audit-log.js';
import { CreateTenant } from '../use-cases/create-tenant.js';
import { CreateUser } from '../use-cases/create-user.js';
import { RenameTenant } from '../use-cases/rename-tenant.js';
import { CurrentActor, OperatorRoute, RequestId } from './access.js';
import { toAuditFilter, toAuditPage } from './audit-page.js';
import { toTenantView, toUserView } from './views.js';

/** What the provider's people do with tenants. */
@ApiTags('operator')
@Controller('api/v1/operator')
export class OperatorController {
  constructor(
    private readonly platformUnitOfWork: PlatformUnitOfWork,
    private readonly createTenant: CreateTenant,
    private readonly createUser: CreateUser,
    private readonly renameTenant: RenameTenant,
  ) {}

  @Get('tenants')
  @OperatorRoute('provider:read')
  @Responds(200, tenantsView)
  async tenants(@Query({ schema: pageQuery }) query: z.infer<typeof pageQuery>): Promise<z.infer<typeof tenantsView>> {
    const { limit, after = null } = query;
    if (after !== null && !isUuid(after))
      throw new CodedError('request.cursor-malformed', 'invalid', 'this is not a cursor of this listing');
    const rows = await this.platformUnitOfWork.run((tx) => listTenants(tx, limit, after));
    return { items: rows.map(toTenantView), next: rows.length < limit ? null : rows.at(-1)!.id };
  }

  @Post('tenants')
  @OperatorRoute('tenants:write')
  @Responds(201, tenantView)
  async addTenant(
    @CurrentActor() actor: OperatorActor,
    @Body({ schema: createTenant }) body: z.infer<typeof createTenant>,
    @RequestId() requestId: string,
  ): Promise<TenantView> {
    return toTenantView(await this.createTenant.execute(auditActorOf(actor), body, requestId));
  }

  @Get('tenants/:id')
  @OperatorRoute('provider:read')
  @Responds(200, tenantView)
  async tenant(@Param('id', { schema: uuid }) id: string): Promise<TenantView> {
    const row = await this.platformUnitOfWork.run((tx) => findTenant(tx, asId<TenantId>(id)));
    if (row === undefined) throw tenantNotFound();
    return toTenantView(row);
  }

  /** Its people sign in by the new short name from now on. */
  @Put('tenants/:id')
  @OperatorRoute('tenants:write')
  @Responds(200, tenantView)
  async rename(
    @CurrentActor() actor: OperatorActor,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: renameTenant }) body: z.infer<typeof renameTenant>,
    @RequestId() requestId: string,
  ): Promise<TenantView> {
    return toTenantView(await this.renameTenant.execute(auditActorOf(actor), asId<TenantId>(id), body, requestId));
  }

  /** A tenant's first admin, as a rule; a tenant's admins make the others themselves. */
  @Post('tenants/:id/users')
  @OperatorRoute('tenants:write')
  @Responds(201, userView)
  async addUser(
    @CurrentActor() actor: OperatorActor,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: createUser }) body: z.infer<typeof createUser>,
    @RequestId() requestId: string,
  ): Promise<UserView> {
    return toUserView(await this.createUser.execute(auditActorOf(actor), asId<TenantId>(id), body, requestId));
  }

  /** The provider's own chain. */
  @Get('audit-events')
  @OperatorRoute('provider-audit:read')
  @Responds(200, auditEventsView)
  async auditEvents(@Query({ schema: auditQuery }) query: AuditQuery): Promise<z.infer<typeof auditEventsView>> {
    const filter = toAuditFilter(query);
    return toAuditPage(await this.platformUnitOfWork.run((tx) => listAuditEvents(tx, null, filter)), filter.limit);
  }
}
