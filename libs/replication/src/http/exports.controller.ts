import { Body, Controller, Delete, Get, Head, Headers, Param, Post, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import { uuid } from '#libs/contracts/common';
import { createExport, exportView, type ExportView } from '#libs/contracts/http';
import { asId, type RecoveryPointId, type TenantId } from '#libs/kernel';
import type { ByteRange } from '#libs/object-store';
import { pacedAnswer, Responds } from '#libs/platform';
import { type Actor, CurrentActor, CurrentTenant, TenantRoute } from '#libs/tenancy';
import { type ExportContent, ExportPoint } from '../use-cases/export-point.js';
import { parseByteRange } from './byte-range.js';

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
    const { diskOrdinal, format, baseExportId, allowDamaged } = body;
    return this.exports.request(tenantId, actor, asId<RecoveryPointId>(id), {
      diskOrdinal,
      format,
      baseExportId,
      allowDamaged,
    });
  }

  @Get('exports/:id')
  @TenantRoute('replication:read')
  @Responds(200, exportView)
  get(@CurrentTenant() tenantId: TenantId, @Param('id', { schema: uuid }) id: string): Promise<ExportView> {
    return this.exports.get(tenantId, id);
  }

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

  /** What {@link content} would answer, without the file. */
  @Head('exports/:id/content')
  @TenantRoute('replication:write')
  async head(
    @CurrentTenant() tenantId: TenantId,
    @Param('id', { schema: uuid }) id: string,
    @Headers() wanted: WantedRange,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const file = await this.exports.content(tenantId, id);
    answerTo(reply, file, rangeOf(wanted, file));
    await reply.send();
  }

  /**
   * The file, or the range of it that is asked for, so that a fetch that broke off can be taken up and a program can read in the file where it
   * likes. `If-Range` with another tag gets the whole; several ranges at once do, too.
   */
  @Get('exports/:id/content')
  @TenantRoute('replication:write')
  async content(
    @CurrentTenant() tenantId: TenantId,
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
    @Headers() wanted: WantedRange,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const file = await this.exports.content(tenantId, id);
    const range = rangeOf(wanted, file);
    if (range !== null) await this.exports.noteFetch(tenantId, actor, id);
    answerTo(reply, file, range);
    if (range === null) await reply.send();
    else await reply.send(pacedAnswer(reply, await this.exports.read(file, range)));
  }
}

type WantedRange = Readonly<Partial<Record<'range' | 'if-range', string>>>;

function rangeOf(wanted: WantedRange, { sizeBytes, sha256 }: ExportContent): ByteRange | null {
  const isOther = wanted['if-range'] !== undefined && wanted['if-range'] !== tagOf(sha256);
  return parseByteRange(isOther ? undefined : wanted.range, sizeBytes);
}

/** Status and headers; null says that the file has nothing in that range. */
function answerTo(reply: FastifyReply, { fileName, sizeBytes, sha256 }: ExportContent, range: ByteRange | null): void {
  const isWhole = range !== null && range.length === sizeBytes;
  void reply.status(range === null ? 416 : isWhole ? 200 : 206).headers({
    'accept-ranges': 'bytes',
    'cache-control': 'private, no-store',
    'content-length': range?.length ?? 0,
    etag: tagOf(sha256),
  });
  if (range === null) void reply.header('content-range', `bytes */${sizeBytes}`);
  else void reply.headers({ 'content-disposition': `attachment; filename="${fileName}"`, 'content-type': 'application/octet-stream' });
  if (range !== null && !isWhole)
    void reply.header('content-range', `bytes ${range.offset}-${range.offset + range.length - 1}/${sizeBytes}`);
}

function tagOf(sha256: string): string {
  return `"${sha256}"`;
}
