import { Body, Controller, Delete, Get, Param, Post, Query } from '@nestjs/common';
import { z } from 'zod';
import { pageOf, pageQuery, uuid } from '#libs/contracts/common';
import { authorizationEntryView, createAuthorizationEntry, storageLocationView, type AuthorizationEntryView } from '#libs/contracts/http';
import type { TenantId } from '#libs/kernel';
import { Responds, UnitOfWork } from '#libs/platform';
import { CurrentActor, CurrentTenant, TenantRoute, type Actor } from '#libs/tenancy';
import { listAuthorizationEntries, listStorageLocations } from '../tables/authorization-entries.js';
import { CreateAuthorizationEntry, DeleteAuthorizationEntry } from '../use-cases/manage-authorization-entries.js';
import { asPage, checkedCursor } from './page.js';
import { toAuthorizationEntryView, toStorageLocationView } from './views.js';

const entriesPage = pageOf(authorizationEntryView);
const storageLocations = z.object({ items: z.array(storageLocationView) });

@Controller('api/v1')
export class AuthorizationEntriesController {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly createEntry: CreateAuthorizationEntry,
    private readonly deleteEntry: DeleteAuthorizationEntry,
  ) {}

  @Get('authorization-entries')
  @TenantRoute('agents:read')
  @Responds(200, entriesPage)
  async list(
    @CurrentTenant() tenantId: TenantId,
    @Query({ schema: pageQuery }) query: z.infer<typeof pageQuery>,
  ): Promise<z.infer<typeof entriesPage>> {
    return this.unitOfWork.run(tenantId, async (tx) =>
      asPage(await listAuthorizationEntries(tx, checkedCursor(query)), query.limit, toAuthorizationEntryView),
    );
  }

  @Post('authorization-entries')
  @TenantRoute('agents:write')
  @Responds(201, authorizationEntryView)
  async create(
    @CurrentActor() actor: Actor,
    @CurrentTenant() tenantId: TenantId,
    @Body({ schema: createAuthorizationEntry }) wish: z.infer<typeof createAuthorizationEntry>,
  ): Promise<AuthorizationEntryView> {
    return toAuthorizationEntryView(await this.createEntry.execute(actor, tenantId, wish));
  }

  @Delete('authorization-entries/:id')
  @TenantRoute('agents:write')
  @Responds(204)
  async remove(
    @CurrentActor() actor: Actor,
    @CurrentTenant() tenantId: TenantId,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<void> {
    await this.deleteEntry.execute(actor, tenantId, id);
  }

  @Get('storage-locations')
  @TenantRoute('agents:read')
  @Responds(200, storageLocations)
  async listStorageLocations(@CurrentTenant() tenantId: TenantId): Promise<z.infer<typeof storageLocations>> {
    return { items: (await this.unitOfWork.run(tenantId, listStorageLocations)).map(toStorageLocationView) };
  }
}
