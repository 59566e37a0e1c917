import { Body, Controller, Delete, Get, Head, Headers, HttpCode, Param, Post, Put, Query, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { type AgentPeer, CurrentAgent, Uploads } from '#libs/agents';
import { uuid } from '#libs/contracts/common';
import {
  chainObjectName,
  pointsAnswer,
  pointsQuery,
  type PointsQuery,
  replacementsAnswer,
  type ReplacementsAnswer,
  replacementsRequest,
  type ReplacementsRequest,
  viewAnswer,
  type ViewAnswer,
  viewRequest,
  type ViewRequest,
} from '#libs/contracts/wire';
import { asId, type RecoveryPointId, type RelationshipId } from '#libs/kernel';
import { pacedAnswer, Responds } from '#libs/platform';
import { type ChainObject, ReadPoints } from '../use-cases/read-points.js';
import { parseByteRange } from './byte-range.js';

/** At a receiver: an agent reads points of its own relationships back, sealed, object by object. */
@Controller('replication/v1/relationships/:id')
export class ReadingController {
  constructor(
    private readonly points: ReadPoints,
    private readonly intake: Uploads,
  ) {}

  @Get('points')
  @Responds(200, pointsAnswer)
  async list(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Query({ schema: pointsQuery }) query: PointsQuery,
  ): Promise<z.infer<typeof pointsAnswer>> {
    return { points: await this.points.list(peer, asId<RelationshipId>(id), query) };
  }

  /** Leases a view of a point under an id that the agent chose; a repeat renews the lease. */
  @Put('views/:viewId')
  @Responds(200, viewAnswer)
  open(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Param('viewId', { schema: uuid }) viewId: string,
    @Body({ schema: viewRequest }) { pointId }: ViewRequest,
  ): Promise<ViewAnswer> {
    return this.points.open(peer, asId<RelationshipId>(id), viewId, pointId === null ? null : asId<RecoveryPointId>(pointId));
  }

  /** For a reader that lost an index: what the layers below it list may lie elsewhere. */
  @Post('views/:viewId/replacements')
  @HttpCode(200)
  @Responds(200, replacementsAnswer)
  replacements(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Param('viewId', { schema: uuid }) viewId: string,
    @Body({ schema: replacementsRequest }) request: ReplacementsRequest,
  ): Promise<ReplacementsAnswer> {
    return this.points.replacements(peer, asId<RelationshipId>(id), viewId, request);
  }

  @Delete('views/:viewId')
  @Responds(204)
  async release(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Param('viewId', { schema: uuid }) viewId: string,
  ): Promise<void> {
    await this.points.release(peer, asId<RelationshipId>(id), viewId);
  }

  @Head('objects/:name')
  async size(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Param('name', { schema: chainObjectName }) name: string,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const object = await this.points.object(peer, asId<RelationshipId>(id), name);
    await reply.headers({ ...HEADERS, 'content-length': object.sizeBytes }).send();
  }

  /** The object, or the one range of it that is asked for. */
  @Get('objects/:name')
  async content(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Param('name', { schema: chainObjectName }) name: string,
    @Headers() headers: { readonly range?: string },
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const object = await this.points.object(peer, asId<RelationshipId>(id), name);
    await this.answer(object, headers.range, peer, request, reply);
  }

  private async answer(
    object: ChainObject,
    wanted: string | undefined,
    peer: AgentPeer,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<void> {
    const { sizeBytes } = object;
    const range = parseByteRange(wanted, sizeBytes);
    if (range === null) {
      await reply.status(416).header('content-range', `bytes */${sizeBytes}`).send();
      return;
    }
    const { offset, length } = range;
    await this.intake.send(request, reply, peer, length);
    void reply.status(length === sizeBytes ? 200 : 206).headers({ ...HEADERS, 'content-length': length });
    if (length < sizeBytes) void reply.header('content-range', `bytes ${offset}-${offset + length - 1}/${sizeBytes}`);
    await reply.send(pacedAnswer(reply, await this.points.read(object, range)));
  }
}

const HEADERS = { 'accept-ranges': 'bytes', 'cache-control': 'private, no-store', 'content-type': 'application/octet-stream' };
