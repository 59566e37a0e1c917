import type { FailoverState, FailoverType } from '#libs/contracts/common';
import type { ReplicaReport } from '#libs/contracts/commands';
import {
  type BranchId,
  CodedError,
  type FailoverId,
  type RecoveryPointId,
  type RelationshipId,
  type ReplicaNodeId,
  type TenantId,
} from '#libs/kernel';
import { type PlatformTx, type RowOf, type Tx } from '#libs/platform';
import { failoverTable } from './tables.js';

/** A row without its picture, which is fetched on its own. */
export type FailoverRow = Omit<RowOf<typeof failoverTable>, 'screenshot'>;

const COLUMNS = Object.keys(failoverTable.columns)
  .filter((column) => column !== 'screenshot')
  .join(', ');

/** Of one that was taken away nothing is shown any more. */
const OF_TENANT_THAT_IS = `not exists (select from tenant t where t.id = failover.tenant_id and t.state = 'deleted')`;

export interface NewFailover {
  readonly id: FailoverId;
  readonly relationshipId: RelationshipId;
  readonly type: FailoverType;
  readonly recoveryPointId: RecoveryPointId;
  readonly epoch: { readonly incarnation: number; readonly counter: number };
  readonly branchId: BranchId | null;
  readonly previousBranchId: BranchId;
}

/** One test and one real failover of a VM stand at a time. Ask with the relationship locked. Throws `failover.exists`. */
export async function requireNoneStands(tx: Tx, relationshipId: RelationshipId, type: FailoverType): Promise<void> {
  const rows = await tx.query(
    `select from failover where tenant_id = $1 and relationship_id = $2 and (type = 'Test') = ($3 = 'Test')
        and state in ('Queued', 'InProgress', 'Running', 'Completed', 'Cancelling')`,
    [tx.tenantId, relationshipId, type],
  );
  if (rows.length > 0)
    throw new CodedError('failover.exists', 'conflict', 'a failover of this VM stands already; complete or cancel it first');
}

export function insertFailover(tx: Tx, failover: NewFailover): Promise<FailoverRow> {
  return tx.one<FailoverRow>(
    `insert into failover (id, tenant_id, relationship_id, type, state, recovery_point_id, epoch_incarnation, epoch_counter, branch_id, previous_branch_id)
     values ($1, $2, $3, $4, 'Queued', $5, $6, $7, $8, $9) returning ${COLUMNS}`,
    [
      failover.id,
      tx.tenantId,
      failover.relationshipId,
      failover.type,
      failover.recoveryPointId,
      failover.epoch.incarnation,
      failover.epoch.counter,
      failover.branchId,
      failover.previousBranchId,
    ],
  );
}

export async function getFailover(tx: Tx, id: FailoverId, options: { readonly lock: boolean } = { lock: false }): Promise<FailoverRow> {
  const row = await tx.maybeOne<FailoverRow>(
    `select ${COLUMNS} from failover where tenant_id = $1 and id = $2 ${options.lock ? 'for update' : ''}`,
    [tx.tenantId, id],
  );
  if (row === undefined) throw new CodedError('failover.not-found', 'not-found', 'there is no such failover');
  return row;
}

/** Newest first, with what a list shows of each. */
export function listFailovers(tx: Tx, relationshipId: RelationshipId | null, limit: number): Promise<FailoverRow[]> {
  return tx.query<FailoverRow>(
    `select ${COLUMNS} from failover where tenant_id = $1 and ($2::uuid is null or relationship_id = $2) order by requested_at desc, id limit $3`,
    [tx.tenantId, relationshipId, limit],
  );
}

export interface FailoverChange {
  readonly state?: FailoverState;
  readonly replicaNodeId?: ReplicaNodeId;
  readonly failure?: { readonly code: string; readonly message: string };
  readonly finished?: boolean;
}

export async function updateFailover(tx: Tx, id: FailoverId, change: FailoverChange): Promise<void> {
  await tx.execute(
    `update failover
        set state = coalesce($3, state), replica_node_id = coalesce($4, replica_node_id),
            failure_code = coalesce($5, failure_code), failure_message = coalesce($6, failure_message),
            finished_at = case when $7 then coalesce(finished_at, now()) else finished_at end
      where tenant_id = $1 and id = $2`,
    [
      tx.tenantId,
      id,
      change.state ?? null,
      change.replicaNodeId ?? null,
      change.failure?.code ?? null,
      change.failure?.message ?? null,
      change.finished ?? false,
    ],
  );
}

/** The owner says how its replica is doing. A report of another node than the owner, or after the end that is known, changes nothing. */
export async function recordReplicaReport(tx: PlatformTx, nodeId: ReplicaNodeId, report: ReplicaReport): Promise<TenantId | undefined> {
  const row = await tx.maybeOne<{ tenant_id: TenantId }>(
    `update failover
        set phase = $3, phase_at = now(), console = case when $4 = '' then console else $4 end, boot_ms = coalesce($5, boot_ms),
            boot_proof = coalesce($8, boot_proof),
            boot_doubt = case when coalesce($8, boot_proof) is null and $3 = 'up' and $6 like 'boot.%' then $6 else null end,
            up_at = case when $3 = 'up' then coalesce(up_at, now()) else up_at end,
            stopped_at = case when $3 in ('stopped', 'failed') then coalesce(stopped_at, now()) else stopped_at end,
            failure_code = case when $3 in ('stopped', 'failed') then coalesce(failure_code, $6) else failure_code end,
            failure_message = case when $3 in ('stopped', 'failed') then coalesce(failure_message, $7) else failure_message end
      where id = $1 and replica_node_id = $2 and (phase is null or phase not in ('stopped', 'failed'))
        and ${OF_TENANT_THAT_IS} returning tenant_id`,
    [report.failoverId, nodeId, report.phase, report.console, report.bootMs, report.code, report.message, report.proof],
  );
  return row?.tenant_id;
}

export function storeScreenshot(tx: PlatformTx, nodeId: ReplicaNodeId, id: FailoverId, png: Buffer): Promise<number> {
  return tx.execute(`update failover set screenshot = $3 where id = $1 and replica_node_id = $2 and ${OF_TENANT_THAT_IS}`, [
    id,
    nodeId,
    png,
  ]);
}

export async function findScreenshot(tx: Tx, id: FailoverId): Promise<Buffer | null> {
  const row = await tx.maybeOne<{ screenshot: Buffer | null }>(`select screenshot from failover where tenant_id = $1 and id = $2`, [
    tx.tenantId,
    id,
  ]);
  return row?.screenshot ?? null;
}

/** What guests showed, of a tenant that is taken away; says how many failovers had something. */
export function forgetEvidence(tx: Tx): Promise<number> {
  return tx.execute(
    `update failover set console = '', screenshot = null where tenant_id = $1 and (console <> '' or screenshot is not null)`,
    [tx.tenantId],
  );
}

/** Failovers that are not over, and whether one ever had a place to run. */
export async function listStandingFailovers(tx: Tx): Promise<{ readonly id: FailoverId; readonly isPlaced: boolean }[]> {
  const rows = await tx.query<{ id: FailoverId; is_placed: boolean }>(
    `select id, replica_node_id is not null as is_placed from failover
      where tenant_id = $1 and state in ('Queued', 'InProgress', 'Running', 'Completed', 'Cancelling')`,
    [tx.tenantId],
  );
  return rows.map(({ id, is_placed: isPlaced }) => ({ id, isPlaced }));
}

export async function endFailover(tx: Tx, id: FailoverId): Promise<void> {
  await tx.execute(
    `update failover set state = 'Failed', failure_code = 'tenant.destroyed', failure_message = 'the tenant was taken away',
            stopped_at = coalesce(stopped_at, now()), finished_at = coalesce(finished_at, now())
      where tenant_id = $1 and id = $2`,
    [tx.tenantId, id],
  );
}
