import { Controller, Get } from '@nestjs/common';
import { z } from 'zod';
import { replicaNodeView, type ReplicaNodeView } from '#libs/contracts/http';
import { PlatformUnitOfWork, Responds } from '#libs/platform';
import { OperatorRoute } from '#libs/tenancy';
import { listReplicaNodes } from '../tables/replica-nodes.js';

const replicaNodes = z.object({ items: z.array(replicaNodeView) });

@Controller('api/v1/operator/replica-nodes')
export class ReplicaNodesController {
  constructor(private readonly unitOfWork: PlatformUnitOfWork) {}

  @Get()
  @OperatorRoute('provider:read')
  @Responds(200, replicaNodes)
  async list(): Promise<z.infer<typeof replicaNodes>> {
    return { items: (await this.unitOfWork.run(listReplicaNodes)).map(toView) };
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
