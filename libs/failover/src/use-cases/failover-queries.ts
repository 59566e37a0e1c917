import { findActiveReplicaNode } from '#libs/agents';
import type { FailoverView } from '#libs/contracts/http';
import type { FailoverId, RelationshipId, TenantId } from '#libs/kernel';
import { PlatformUnitOfWork, Sagas, type SagaView, type Tx, UnitOfWork } from '#libs/platform';
import { cancelSagaId } from '../jobs/sagas.js';
import { type FailoverRow, findScreenshot, getFailover, listFailovers } from '../tables/failovers.js';

/** Failovers as people see them, each with its steps. */
export class FailoverQueries {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly platform: PlatformUnitOfWork,
    private readonly sagas: Sagas,
  ) {}

  /** Newest first. */
  async list(tenantId: TenantId, relationshipId: RelationshipId | null, limit: number): Promise<FailoverView[]> {
    const rows = await this.unitOfWork.run(tenantId, (tx) => listFailovers(tx, relationshipId, limit));
    const views: FailoverView[] = [];
    for (const row of rows) views.push(await this.get(tenantId, row.id));
    return views;
  }

  async get(tenantId: TenantId, id: FailoverId): Promise<FailoverView> {
    const { row, facts, saga, cancelling } = await this.unitOfWork.run(tenantId, async (tx) => {
      const found = await getFailover(tx, id);
      return {
        row: found,
        facts: await factsOf(tx, found),
        saga: await this.sagas.find(tx, id),
        cancelling: await this.sagas.find(tx, cancelSagaId(id)),
      };
    });
    const nodeId = row.replica_node_id;
    const node = nodeId === null ? undefined : await this.platform.run((tx) => findActiveReplicaNode(tx, nodeId));
    return toView(row, facts, [...stepsOf(saga), ...stepsOf(cancelling)], node?.fqdn ?? null);
  }

  screenshot(tenantId: TenantId, id: FailoverId): Promise<Buffer | null> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await getFailover(tx, id);
      return findScreenshot(tx, id);
    });
  }
}

interface Facts {
  readonly vm_name: string;
  readonly point_instant: Date;
  readonly has_screenshot: boolean;
}

function factsOf(tx: Tx, row: FailoverRow): Promise<Facts> {
  return tx.one<Facts>(
    `select v.name as vm_name, m.instant as point_instant, f.screenshot is not null as has_screenshot
       from failover f
       join replication_relationship r on r.tenant_id = f.tenant_id and r.id = f.relationship_id
       join virtual_machine v on v.tenant_id = r.tenant_id and v.id = r.vm_id
       join chain_manifest m on m.tenant_id = f.tenant_id and m.id = f.recovery_point_id
      where f.tenant_id = $1 and f.id = $2`,
    [tx.tenantId, row.id],
  );
}

function stepsOf(saga: SagaView | undefined): FailoverView['steps'] {
  return (saga?.steps ?? []).map(({ name, state, startedAt, finishedAt, errorMessage }) => ({
    name,
    state,
    startedAt: startedAt?.toISOString() ?? null,
    finishedAt: finishedAt?.toISOString() ?? null,
    message: errorMessage,
  }));
}

function toView(row: FailoverRow, facts: Facts, steps: FailoverView['steps'], replicaNodeName: string | null): FailoverView {
  return {
    id: row.id,
    relationshipId: row.relationship_id,
    vmName: facts.vm_name,
    type: row.type,
    state: row.state,
    recoveryPointId: row.recovery_point_id,
    recoveryPointInstant: facts.point_instant.toISOString(),
    replicaNodeId: row.replica_node_id,
    replicaNodeName,
    steps,
    requestedAt: row.requested_at.toISOString(),
    upAt: row.up_at?.toISOString() ?? null,
    rtoSeconds: row.up_at === null ? null : (row.up_at.getTime() - row.requested_at.getTime()) / 1000,
    bootMs: row.boot_ms,
    bootVerified: row.up_at !== null,
    console: row.console,
    hasScreenshot: facts.has_screenshot,
    failureCode: row.failure_code,
    failureMessage: row.failure_message,
  };
}
