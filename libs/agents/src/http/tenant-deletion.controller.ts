import { Controller, Delete, Get, Param, Post } from '@nestjs/common';
import { uuid } from '#libs/contracts/common';
import { tenantDeletionView, type TenantDeletionView } from '#libs/contracts/http';
import { asId, type TenantId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { CurrentActor, type OperatorActor, OperatorRoute } from '#libs/tenancy';
import type { TenantDeletionRow } from '../tables/tenant-deletions.js';
import { DeleteTenant } from '../use-cases/delete-tenant.js';

@Controller('api/v1/operator/tenants')
export class TenantDeletionController {
  constructor(private readonly deletion: DeleteTenant) {}

  @Get(':id/deletion')
  @OperatorRoute('provider:read')
  @Responds(200, tenantDeletionView)
  async get(@Param('id', { schema: uuid }) id: string): Promise<TenantDeletionView> {
    return toView(await this.deletion.get(asId<TenantId>(id)));
  }

  @Post(':id/deletion')
  @OperatorRoute('tenants:delete')
  @Responds(202, tenantDeletionView)
  async request(@CurrentActor() actor: OperatorActor, @Param('id', { schema: uuid }) id: string): Promise<TenantDeletionView> {
    return toView(await this.deletion.request(actor, asId<TenantId>(id)));
  }

  @Post(':id/deletion/confirm')
  @OperatorRoute('tenants:delete')
  @Responds(202, tenantDeletionView)
  async confirm(@CurrentActor() actor: OperatorActor, @Param('id', { schema: uuid }) id: string): Promise<TenantDeletionView> {
    return toView(await this.deletion.confirm(actor, asId<TenantId>(id)));
  }

  @Delete(':id/deletion')
  @OperatorRoute('tenants:delete')
  @Responds(204)
  async withdraw(@CurrentActor() actor: OperatorActor, @Param('id', { schema: uuid }) id: string): Promise<void> {
    await this.deletion.withdraw(actor, asId<TenantId>(id));
  }
}

function toView(row: TenantDeletionRow): TenantDeletionView {
  const confirmed = row.confirmed_at === null ? 'awaiting-confirmation' : 'held';
  return {
    tenantId: row.tenant_id,
    state: row.destroyed_at === null ? confirmed : 'destroyed',
    requestedBy: row.requested_by_email,
    requestedAt: row.requested_at.toISOString(),
    holdUntil: row.hold_until.toISOString(),
    confirmedBy: row.confirmed_by_email,
    confirmedAt: row.confirmed_at?.toISOString() ?? null,
    destroyedAt: row.destroyed_at?.toISOString() ?? null,
    keptCount: row.kept_count,
    emptiedAt: row.emptied_at?.toISOString() ?? null,
  };
}
