import { replicaNodeNames } from '#libs/cluster';
import type { FailoverView } from '#libs/contracts/http';
import type { FailoverId, RelationshipId, ReplicaNodeId, TenantId } from '#libs/kernel';
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
  list(tenantId: TenantId, relationshipId: RelationshipId | null, limit: number): Promise<FailoverView[]> {
    return this.views(tenantId, (tx) => listFailovers(tx, relationshipId, limit));
  }

  async get(tenantId: TenantId, id: FailoverId): Promise<FailoverView> {
    const [view] = await this.views(tenantId, async (tx) => [await getFailover(tx, id)]);
    return view!;
  }

  screenshot(tenantId: TenantId, id: FailoverId): Promise<Buffer | null> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await getFailover(tx, id);
      return findScreenshot(tx, id);
    });
  }

  private async views(tenantId: TenantId, find: (tx: Tx) => Promise<FailoverRow[]>): Promise<FailoverView[]> {
    const found = await this.unitOfWork.run(tenantId, async (tx) => {
      const parts: Omit<ViewParts, 'nodeName'>[] = [];
      for (const row of await find(tx)) {
        const sagas = [await this.sagas.find(tx, row.id), await this.sagas.find(tx, cancelSagaId(row.id))];
        parts.push({ row, facts: await factsOf(tx, row), steps: sagas.flatMap(stepsOf) });
      }
      return parts;
    });
    const nodeIds = found.flatMap(({ row }) => row.replica_node_id ?? []);
    const names = nodeIds.length === 0 ? new Map<ReplicaNodeId, string>() : await this.platform.run((tx) => replicaNodeNames(tx, nodeIds));
    return found.map((parts) => toView({ ...parts, nodeName: names.get(parts.row.replica_node_id!) ?? null }));
  }
}

interface Facts {
  readonly vm_name: string;
  readonly point_instant: Date;
  readonly has_screenshot: boolean;
  readonly is_node_silent: boolean;
  readonly awaits_keys: boolean;
}

interface ViewParts {
  readonly row: FailoverRow;
  readonly facts: Facts;
  readonly steps: FailoverView['steps'];
  readonly nodeName: string | null;
}

function factsOf(tx: Tx, row: FailoverRow): Promise<Facts> {
  return tx.one<Facts>(
    `select v.name as vm_name, m.instant as point_instant, f.screenshot is not null as has_screenshot,
            exists (select from replica_ownership o where o.tenant_id = f.tenant_id and o.failover_id = f.id and o.released_at is null
                       and o.silent_since is not null) as is_node_silent,
            f.replica_node_id is null and exists (select from key_request k where k.tenant_id = f.tenant_id and k.id = f.id
                       and k.released_at is null) as awaits_keys
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

function toView({ row, facts, steps, nodeName }: ViewParts): FailoverView {
  return {
    id: row.id,
    relationshipId: row.relationship_id,
    vmName: facts.vm_name,
    type: row.type,
    state: row.state,
    recoveryPointId: row.recovery_point_id,
    recoveryPointInstant: facts.point_instant.toISOString(),
    replicaNodeId: row.replica_node_id,
    replicaNodeName: nodeName,
    replicaNodeSilent: facts.is_node_silent,
    waitingFor: facts.awaits_keys ? 'tenant-keys' : null,
    steps,
    requestedAt: row.requested_at.toISOString(),
    upAt: row.up_at?.toISOString() ?? null,
    rtoSeconds: row.up_at === null ? null : (row.up_at.getTime() - row.requested_at.getTime()) / 1000,
    bootMs: row.boot_ms,
    bootVerified: row.boot_proof !== null,
    bootDoubt: row.boot_doubt,
    console: row.console,
    hasScreenshot: facts.has_screenshot,
    failureCode: row.failure_code,
    failureMessage: row.failure_message,
  };
}
