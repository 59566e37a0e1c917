import type { CycleView, RecoveryPointView, RelationshipView, VmView } from '#libs/contracts/http';
import { asId, type ChainId, Clock, HOUR_MS, type RelationshipId, type TenantId, type VmId } from '#libs/kernel';
import { type Tx, UnitOfWork } from '#libs/platform';
import { healthOf } from '../domain/replication-health.js';
import { readDamagedPoints } from '../tables/damaged-points.js';
import { listExtendedReplications } from '../tables/extended-replications.js';
import { unopenableSince } from '../tables/key-faults.js';
import { cycleOf } from '../tables/manifest-ref.js';
import { getPoint, type PointManifestRow } from '../tables/manifests.js';
import type { CycleRow } from '../tables/cycles.js';
import { getRelationship, listRelationships, type RelationshipRow } from '../tables/relationships.js';
import { AGENT_SILENCE_MS, getVirtualMachine, listVirtualMachines } from '../tables/virtual-machines.js';
import { toExtendedView } from './extend-replication.js';
import { toPointView } from './point-views.js';

/** How far back failed cycles count against the health: Hyper-V's default monitoring interval. */
const MONITORING_INTERVAL_MS = 12 * HOUR_MS;

interface RelationshipFacts {
  readonly vm_name: string;
  readonly agent_last_seen_at: Date | null;
  readonly tag: string;
  readonly epoch_incarnation: number;
  readonly epoch_counter: number;
  readonly point_count: number;
  readonly last_point_at: Date | null;
  /** What the newest point of the written branch stands for; never later than its cycle's start by the provider's clock. */
  readonly last_point_instant: Date | null;
  readonly stored_bytes: number;
  readonly ended_cycles: number;
  readonly failed_cycles: number;
  readonly damaged_objects: number;
  readonly unopenable_since: Date | null;
}

/** What the tenant's portal, CLI and scripts read. */
export class ReplicationQueries {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly clock: Clock,
  ) {}

  virtualMachines(tenantId: TenantId): Promise<VmView[]> {
    return this.unitOfWork.run(tenantId, async (tx) => (await listVirtualMachines(tx)).map(toVmView));
  }

  virtualMachine(tenantId: TenantId, id: VmId): Promise<VmView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const row = await getVirtualMachine(tx, id);
      const relationship = await tx.maybeOne<{ id: string }>(
        `select id from replication_relationship where tenant_id = $1 and vm_id = $2 and removed_at is null`,
        [tenantId, id],
      );
      return toVmView({ ...row, relationship_id: relationship?.id ?? null });
    });
  }

  relationships(tenantId: TenantId): Promise<RelationshipView[]> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const views: RelationshipView[] = [];
      for (const row of await listRelationships(tx)) views.push(await this.toRelationshipView(tx, row));
      return views;
    });
  }

  relationship(tenantId: TenantId, id: RelationshipId): Promise<RelationshipView> {
    return this.unitOfWork.run(tenantId, async (tx) => this.toRelationshipView(tx, await getRelationship(tx, id, { lock: false })));
  }

  /** Newest first. */
  cycles(tenantId: TenantId, id: RelationshipId, limit: number): Promise<CycleView[]> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const relationship = await getRelationship(tx, id, { lock: false });
      const rows = await tx.query<CycleRow & { sent_bytes: number; segment_count: number }>(
        `select c.*, carried.sent_bytes, carried.segment_count
           from (select * from replication_cycle where tenant_id = $1 and chain_id = $2 order by opened_at desc, cycle desc limit $3) c
          cross join lateral (
            select coalesce(sum(s.size_bytes), 0)::bigint as sent_bytes, count(*)::int as segment_count
              from cycle_segment y join chain_segment s on s.tenant_id = y.tenant_id and s.chain_id = y.chain_id and s.sha256 = y.sha256
             where y.tenant_id = c.tenant_id and y.cycle_id = c.id) carried
          order by c.opened_at desc, c.cycle desc`,
        [tenantId, relationship.chain_id, limit],
      );
      return rows.map(toCycleView);
    });
  }

  /** Newest first. */
  recoveryPoints(tenantId: TenantId, id: RelationshipId, limit: number): Promise<RecoveryPointView[]> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const relationship = await getRelationship(tx, id, { lock: false });
      const rows = await tx.query<PointManifestRow>(
        `select m.*, p.immutable_until, p.pinned_at, p.pin_note from recovery_point p join chain_manifest m on m.tenant_id = p.tenant_id and m.id = p.id
          where p.tenant_id = $1 and p.chain_id = $2 order by p.committed_at desc, m.cycle desc limit $3`,
        [tenantId, relationship.chain_id, limit],
      );
      const isDamaged = await readDamagedPoints(tx, relationship.chain_id);
      return rows.map((row) => toPointView(row, relationship.id, isDamaged));
    });
  }

  recoveryPoint(tenantId: TenantId, id: RelationshipId, pointId: Parameters<typeof getPoint>[2]): Promise<RecoveryPointView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const relationship = await getRelationship(tx, id, { lock: false });
      const point = await getPoint(tx, asId<ChainId>(relationship.chain_id), pointId);
      return toPointView(point, relationship.id, await readDamagedPoints(tx, relationship.chain_id));
    });
  }

  private async toRelationshipView(tx: Tx, row: RelationshipRow): Promise<RelationshipView> {
    const facts = await tx.one<RelationshipFacts>(
      `select v.name as vm_name, a.last_seen_at as agent_last_seen_at, c.tag, c.epoch_incarnation, c.epoch_counter,
              (select count(*) from recovery_point p where p.tenant_id = c.tenant_id and p.chain_id = c.id)::int as point_count,
              (select max(committed_at) from recovery_point p where p.tenant_id = c.tenant_id and p.chain_id = c.id) as last_point_at,
              (select least(m.instant, y.opened_at) from chain_manifest m
                 join replication_cycle y on y.tenant_id = m.tenant_id and y.cycle = m.cycle
                where m.tenant_id = c.tenant_id and m.branch_id = c.branch_id and m.kind = 'point'
                  and (keys.unopenable_since is null or m.committed_at < keys.unopenable_since) order by m.sequence desc limit 1) as last_point_instant,
              (select coalesce(sum(size_bytes), 0) from chain_segment s where s.tenant_id = c.tenant_id and s.chain_id = c.id)::bigint as stored_bytes,
              (select count(*) from replication_cycle y where y.tenant_id = c.tenant_id and y.chain_id = c.id
                  and y.state in ('committed', 'failed') and y.ended_at > $3)::int as ended_cycles,
              (select count(*) from replication_cycle y where y.tenant_id = c.tenant_id and y.chain_id = c.id
                  and y.state = 'failed' and y.ended_at > $3)::int as failed_cycles,
              (select count(*) from chain_damage d where d.tenant_id = c.tenant_id and d.chain_id = c.id)::int as damaged_objects,
              keys.unopenable_since
         from replication_relationship r
         join virtual_machine v on v.tenant_id = r.tenant_id and v.id = r.vm_id
         join agent a on a.tenant_id = r.tenant_id and a.id = r.agent_id
         join replica_chain c on c.tenant_id = r.tenant_id and c.id = r.chain_id
         cross join lateral (select ${unopenableSince('c.tenant_id', 'c.id')} as unopenable_since) keys
        where r.tenant_id = $1 and r.id = $2`,
      [tx.tenantId, row.id, new Date(this.clock.now().getTime() - MONITORING_INTERVAL_MS)],
    );
    const [extended] = await listExtendedReplications(tx, asId<RelationshipId>(row.id));
    const now = this.clock.now();
    const silenceMs = facts.agent_last_seen_at === null ? Infinity : now.getTime() - facts.agent_last_seen_at.getTime();
    const { health, details } = healthOf({
      state: row.state,
      now,
      createdAt: row.created_at,
      lastReplicationAt: facts.last_point_at,
      agentConnected: silenceMs < AGENT_SILENCE_MS,
      endedCycles: facts.ended_cycles,
      failedCycles: facts.failed_cycles,
      damagedObjects: facts.damaged_objects,
      unopenableSince: facts.unopenable_since,
      lastFailure: row.failure_code === null ? null : { code: row.failure_code, message: row.failure_message ?? '' },
    });
    return {
      id: row.id,
      vmId: row.vm_id,
      vmName: facts.vm_name,
      agentId: row.agent_id,
      chainId: row.chain_id,
      tag: facts.tag,
      mode: row.mode,
      state: row.state,
      health,
      healthDetails: [...details],
      epoch: { incarnation: facts.epoch_incarnation, counter: facts.epoch_counter },
      policy: row.policy,
      rpoSeconds: facts.last_point_instant === null ? null : Math.max(0, (now.getTime() - facts.last_point_instant.getTime()) / 1000),
      lastReplicationAt: facts.last_point_at?.toISOString() ?? null,
      recoveryPointCount: facts.point_count,
      storedBytes: facts.stored_bytes,
      extended: extended === undefined ? null : toExtendedView(extended),
      createdAt: row.created_at.toISOString(),
    };
  }
}

function toVmView(row: Awaited<ReturnType<typeof listVirtualMachines>>[number]): VmView {
  return {
    id: row.id,
    agentId: row.agent_id,
    name: row.name,
    power: row.power,
    obstacle: row.obstacle,
    definition: row.definition,
    relationshipId: row.relationship_id,
    reportedAt: row.reported_at.toISOString(),
  };
}

function toCycleView(row: CycleRow & { readonly sent_bytes: number; readonly segment_count: number }): CycleView {
  return {
    id: row.id,
    cycle: cycleOf(row.cycle).toString(),
    kind: row.kind,
    state: row.state,
    manifestKind: row.manifest_kind,
    startedAt: row.opened_at.toISOString(),
    endedAt: row.ended_at?.toISOString() ?? null,
    changedBytes: row.changed_bytes,
    sentBytes: row.sent_bytes,
    segmentCount: row.segment_count,
    resumedUploads: row.resumed_uploads,
    pauseMs: row.pause_ms,
    durationMs: row.duration_ms,
    failureCode: row.failure_code,
    failureMessage: row.failure_message,
  };
}
