import { Body, Controller, Get, Param, Post, Put, Query, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { type AgentPeer, CurrentAgent, Uploads } from '#libs/agents';
import { OFFER_BYTES_MAX } from '#libs/chain';
import { sha256Hex, uuid } from '#libs/contracts/common';
import {
  offerAnswer,
  offerQuery,
  repairRefusal,
  type RepairRefusal,
  wantedRecordsAnswer,
  type WantedRecordsAnswer,
} from '#libs/contracts/wire';
import { asId, type RelationshipId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { OfferRecords } from '../use-cases/offer-records.js';

/** At a receiver: what is damaged of a chain, and what its writer offers in the place of that. No other way leads into what was committed before. */
@Controller('replication/v1/relationships/:id')
export class OffersController {
  constructor(
    private readonly offers: OfferRecords,
    private readonly intake: Uploads,
  ) {}

  @Get('wanted-records')
  @Responds(200, wantedRecordsAnswer)
  wanted(@CurrentAgent() peer: AgentPeer, @Param('id', { schema: uuid }) id: string): Promise<WantedRecordsAnswer> {
    return this.offers.list(peer, asId<RelationshipId>(id));
  }

  /** A repeat changes nothing. */
  @Put('repairs/:repairId/offers/:sha256')
  @Responds(200, offerAnswer)
  async offer(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Param('repairId', { schema: uuid }) repairId: string,
    @Param('sha256', { schema: sha256Hex }) sha256: string,
    @Query({ schema: offerQuery }) epoch: z.infer<typeof offerQuery>,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<z.infer<typeof offerAnswer>> {
    const answer = await this.intake.receiveWhole(request, peer, OFFER_BYTES_MAX, (bytes) =>
      this.offers.offer(peer, asId<RelationshipId>(id), repairId, { sha256, epoch, bytes }),
    );
    if (answer.created) void reply.status(201);
    return answer;
  }

  @Post('repairs/:repairId/refusal')
  @Responds(204)
  async refuse(
    @CurrentAgent() peer: AgentPeer,
    @Param('id', { schema: uuid }) id: string,
    @Param('repairId', { schema: uuid }) repairId: string,
    @Body({ schema: repairRefusal }) refusal: RepairRefusal,
  ): Promise<void> {
    await this.offers.refuse(peer, asId<RelationshipId>(id), repairId, refusal);
  }
}
