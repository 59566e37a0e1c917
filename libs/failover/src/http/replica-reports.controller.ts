import { Controller, Param, Put, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { CurrentReplicaNode, type ReplicaNodePeer, Uploads } from '#libs/agents';
import { SCREENSHOT_BYTES_MAX } from '#libs/contracts/commands';
import { uuid } from '#libs/contracts/common';
import { asId, CodedError, type FailoverId } from '#libs/kernel';
import { PlatformUnitOfWork, Responds } from '#libs/platform';
import { storeScreenshot } from '../tables/failovers.js';

const PNG_SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');

/** At a receiver: the VM console's picture, as evidence. */
@Controller('reports/v1/failovers')
export class ReplicaReportsController {
  constructor(
    private readonly unitOfWork: PlatformUnitOfWork,
    private readonly uploads: Uploads,
  ) {}

  @Put(':id/screenshot')
  @Responds(204)
  async screenshot(
    @CurrentReplicaNode() peer: ReplicaNodePeer,
    @Param('id', { schema: uuid }) id: string,
    @Req() request: FastifyRequest,
  ): Promise<void> {
    const stored = await this.uploads.receiveWhole(request, peer, SCREENSHOT_BYTES_MAX, async (png) => {
      if (!png.subarray(0, PNG_SIGNATURE.length).equals(PNG_SIGNATURE))
        throw new CodedError('screenshot.not-png', 'invalid', 'a screenshot is a PNG image');
      return this.unitOfWork.run((tx) => storeScreenshot(tx, peer.identityId, asId<FailoverId>(id), png));
    });
    if (stored === 0) throw new CodedError('failover.not-found', 'not-found', 'there is no such failover');
  }
}
