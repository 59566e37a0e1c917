import { Readable } from 'node:stream';
import { Body, Controller, Get, Header, Param, Post, Res, StreamableFile } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import { uuid } from '#libs/contracts/common';
import { createExport, exportView, type ExportView } from '#libs/contracts/http';
import { asId, type RecoveryPointId, type TenantId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { type Actor, CurrentActor, CurrentTenant, TenantRoute } from '#libs/tenancy';
import { ExportPoint } from '../use-cases/export-point.js';

@Controller('api/v1')
export class ExportsController {
  constructor(private readonly exports: ExportPoint) {}

  @Post('recovery-points/:id/exports')
  @TenantRoute('replication:write')
  @Responds(202, exportView)
  create(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: createExport }) body: z.infer<typeof createExport>,
  ): Promise<ExportView> {
    const { diskOrdinal, format, baseExportId } = body;
    return this.exports.request(tenantId, actor, asId<RecoveryPointId>(id), { diskOrdinal, format, baseExportId });
  }

  @Get('exports/:id')
  @TenantRoute('replication:read')
  @Responds(200, exportView)
  get(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<ExportView> {
    return this.exports.get(tenantId, id);
  }

  @Get('exports/:id/content')
  @TenantRoute('replication:write')
  @Header('cache-control', 'private, no-store')
  async content(
    @CurrentTenant() tenantId: TenantId,
    @Param('id', { schema: uuid }) id: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<StreamableFile> {
    const { fileName, sizeBytes, bytes } = await this.exports.content(tenantId, id);
    void reply.header('content-length', sizeBytes);
    return new StreamableFile(Readable.from(bytes, { objectMode: false }), {
      type: 'application/octet-stream',
      disposition: `attachment; filename="${fileName}"`,
    });
  }
}
