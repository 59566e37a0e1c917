import { Body, Controller, Delete, Get, HttpCode, Param, Post } from '@nestjs/common';
import type { z } from 'zod';
import { pageOf, uuid } from '#libs/contracts/common';
import { createPublication, publicationView, type PublicationView, publishedFileView } from '#libs/contracts/http';
import { asId, type RelationshipId, type TenantId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { type Actor, CurrentActor, CurrentTenant, TenantRoute } from '#libs/tenancy';
import { PublishPoints } from '../use-cases/publish-points.js';

const publicationsPage = pageOf(publicationView);
const filesPage = pageOf(publishedFileView);

/** Points as files in the tenant's place in the store. */
@Controller('api/v1')
export class PublicationsController {
  constructor(private readonly publications: PublishPoints) {}

  /** Begins a publication, or changes what one of the same format and disk is to have. */
  @Post('relationships/:id/publications')
  @TenantRoute('replication:write')
  @Responds(202, publicationView)
  publish(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: createPublication }) body: z.infer<typeof createPublication>,
  ): Promise<PublicationView> {
    const { format, diskOrdinal, points, follow } = body;
    return this.publications.publish(tenantId, actor, asId<RelationshipId>(id), { format, diskOrdinal, points, follow });
  }

  @Get('publications')
  @TenantRoute('replication:read')
  @Responds(200, publicationsPage)
  async list(@CurrentTenant() tenantId: TenantId): Promise<z.infer<typeof publicationsPage>> {
    return { items: await this.publications.list(tenantId), next: null };
  }

  @Get('publications/:id')
  @TenantRoute('replication:read')
  @Responds(200, publicationView)
  get(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<PublicationView> {
    return this.publications.get(tenantId, id);
  }

  @Get('publications/:id/files')
  @TenantRoute('replication:read')
  @Responds(200, filesPage)
  async files(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<z.infer<typeof filesPage>> {
    return { items: await this.publications.files(tenantId, id), next: null };
  }

  /** The files stay as they are. */
  @Post('publications/:id/stop')
  @TenantRoute('replication:write')
  @HttpCode(200)
  @Responds(200, publicationView)
  stop(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<PublicationView> {
    return this.publications.stop(tenantId, actor, id);
  }

  /** The files go; the publication is listed until they are gone. */
  @Delete('publications/:id')
  @TenantRoute('replication:write')
  @HttpCode(202)
  @Responds(202, publicationView)
  remove(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<PublicationView> {
    return this.publications.delete(tenantId, actor, id);
  }
}
