import { Body, Controller, HttpCode, Param, Post } from '@nestjs/common';
import type { z } from 'zod';
import { CurrentReplicaNode, type ReplicaNodePeer } from '#libs/agents';
import { uuid } from '#libs/contracts/common';
import {
  readingAnswer,
  type ReadingAnswer,
  readingReplacementsRequest,
  readingRequest,
  replacementsAnswer,
  type ReplacementsAnswer,
} from '#libs/contracts/wire';
import { asId, type TenantId } from '#libs/kernel';
import { Responds } from '#libs/platform';
import { ResolveReading } from '../use-cases/resolve-reading.js';

/** At a receiver: how to open what a replica node was told to read, asked once more. The id is that of the failover or the export. */
@Controller('replication/v1/readings/:id')
export class NodeReadingController {
  constructor(private readonly readings: ResolveReading) {}

  @Post()
  @HttpCode(200)
  @Responds(200, readingAnswer)
  async resolve(
    @CurrentReplicaNode() peer: ReplicaNodePeer,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: readingRequest }) { tenantId }: z.infer<typeof readingRequest>,
  ): Promise<ReadingAnswer> {
    return { map: await this.readings.resolve(peer, asId<TenantId>(tenantId), id) };
  }

  @Post('replacements')
  @HttpCode(200)
  @Responds(200, replacementsAnswer)
  replacements(
    @CurrentReplicaNode() peer: ReplicaNodePeer,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: readingReplacementsRequest }) { tenantId, ...request }: z.infer<typeof readingReplacementsRequest>,
  ): Promise<ReplacementsAnswer> {
    return this.readings.replacements(peer, asId<TenantId>(tenantId), id, request);
  }
}
