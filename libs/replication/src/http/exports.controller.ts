import { Readable } from 'node:stream';
import { Body, Controller, Delete, Get, Headers, Param, Post, Res } from '@nestjs/common';
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

  /** The file. `Range: bytes=N-` is honoured, so that a fetch that broke off can be taken up; any other range gets all of it. */
  @Delete('exports/:id')
  @TenantRoute('replication:write')
  @Responds(204)
  async remove(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
  ): Promise<void> {
    await this.exports.delete(tenantId, actor, id);
  }

  @Get('exports/:id/content')
  @TenantRoute('replication:write')
  async content(
    @CurrentTenant() tenantId: TenantId,
    @Param('id', { schema: uuid }) id: string,
    @Headers('range') range: string | undefined,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const { fileName, sizeBytes, fromByte, bytes } = await this.exports.content(tenantId, id, firstByteOf(range));
    const headers = {
      'accept-ranges': 'bytes',
      'cache-control': 'private, no-store',
      'content-disposition': `attachment; filename="${fileName}"`,
      'content-length': sizeBytes - fromByte,
      'content-type': 'application/octet-stream',
      ...(fromByte === 0 ? {} : { 'content-range': `bytes ${fromByte}-${sizeBytes - 1}/${sizeBytes}` }),
    };
    await reply
      .status(fromByte === 0 ? 200 : 206)
      .headers(headers)
      .send(Readable.from(bytes, { objectMode: false }));
  }
}

function firstByteOf(range: string | undefined): number {
  return Number(/^bytes=(\d{1,15})-$/.exec(range ?? '')?.[1] ?? 0);
}
