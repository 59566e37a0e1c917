import { Body, Controller, Get, Post, Query } from '@nestjs/common';
import { z } from 'zod';
import { scrubView, startedScrub, startScrub } from '#libs/contracts/http';
import { asId, type RelationshipId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { type Actor, CurrentActor, OperatorRoute } from '#libs/tenancy';
import { OperatorScrubs } from '../use-cases/operator-scrubs.js';

const scrubs = z.object({ items: z.array(scrubView) });
const listQuery = z.object({ limit: z.coerce.number().int().min(1).max(1000).default(100) });

@Controller('api/v1/operator/scrubs')
export class ScrubsController {
  constructor(private readonly scrubs: OperatorScrubs) {}

  @Get()
  @OperatorRoute('provider:read')
  @Responds(200, scrubs)
  async list(@Query({ schema: listQuery }) { limit }: z.infer<typeof listQuery>): Promise<z.infer<typeof scrubs>> {
    return { items: await this.scrubs.list(limit) };
  }

  /** The worker does it, in its own time. */
  @Post()
  @OperatorRoute('cluster:write')
  @Responds(202, startedScrub)
  async start(
    @CurrentActor() actor: Actor,
    @Body({ schema: startScrub }) { relationshipId }: z.infer<typeof startScrub>,
  ): Promise<z.infer<typeof startedScrub>> {
    return { chainCount: await this.scrubs.start(actor, relationshipId === undefined ? null : asId<RelationshipId>(relationshipId)) };
  }
}
