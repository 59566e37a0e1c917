import { Body, Controller, Get, Param, Post } from '@nestjs/common';
import { z } from 'zod';
import { RevokeReplicaNode } from '#libs/agents';
import { uuid } from '#libs/contracts/common';
import { replicaNodeView, type ReplicaNodeView, revokeReplicaNode } from '#libs/contracts/http';
import { asId, type ReplicaNodeId } from '#libs/kernel';
import { PlatformUnitOfWork, Responds } from '#libs/platform';
import { type Actor, CurrentActor, OperatorRoute } from '#libs/tenancy';
import { listReplicaNodes } from '../tables/replica-nodes.js';

const replicaNodes = z.object({ items: z.array(replicaNodeView) });

@Controller('api/v1/operator/replica-nodes')
export class ReplicaNodesController {
  constructor(
    private readonly unitOfWork: PlatformUnitOfWork,
    private readonly revokeUseCase: RevokeReplicaNode,
  ) {}

  @Get()
  @OperatorRoute('provider:read')
  @Responds(200, replicaNodes)
  async list(): Promise<z.infer<typeof replicaNodes>> {
    return { items: (await this.unitOfWork.run(listReplicaNodes)).map(toView) };
  }

  @Post(':id/revoke')
  @OperatorRoute('cluster:write')
  @Responds(200, replicaNodeView)
  async revoke(
    @CurrentActor() actor: Actor,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: revokeReplicaNode }) { reason }: z.infer<typeof revokeReplicaNode>,
  ): Promise<ReplicaNodeView> {
    await this.revokeUseCase.execute(actor, asId<ReplicaNodeId>(id), reason);
    const revoked = (await this.unitOfWork.run(listReplicaNodes)).find((row) => row.id === id);
    return toView(revoked!);
  }
}

function toView(row: Awaited<ReturnType<typeof listReplicaNodes>>[number]): ReplicaNodeView {
  const isActive = row.state === 'active';
  return {
    id: row.id!,
    name: row.fqdn!,
    state: !isActive ? 'revoked' : row.is_draining === true ? 'draining' : 'active',
    connected: isActive && row.is_connected === true,
    accelerator: row.accelerator,
    cpus: row.cpus,
    memoryMiB: row.memory_mib,
    memoryFreeMiB: row.memory_free_mib,
    replicaCount: row.replica_count ?? 0,
    version: row.version ?? '',
    lastSeenAt: (row.reported_at ?? row.last_seen_at)?.toISOString() ?? null,
  };
}
