import {
  catalogueErrors,
  compareEpochs,
  type CycleState,
  type Epoch,
  type ManifestKind,
  type ManifestRef,
  cycleNumber,
  cycleToHex,
  type ListEntry,
  type SegmentInterval,
} from '#libs/chain';
import type { CycleKind } from '#libs/contracts/common';
import type { CycleMeasures } from '#libs/contracts/wire';
import { asId, type BranchId, type ChainId, newId, type TenantId } from '#libs/kernel';
import type { RowOf, Tx } from '#libs/platform';
import { cycleOf, refOf, refParams } from './manifest-ref.js';
import { type chainSegmentTable, replicationCycleTable } from './tables.js';

export type CycleRow = RowOf<typeof replicationCycleTable>;

export interface NewCycle {
  readonly chainId: ChainId;
  readonly branchId: BranchId;
  readonly epoch: Epoch;
  readonly kind: CycleKind;
  readonly manifestKind: ManifestKind;
  readonly parent: ManifestRef | null;
  readonly sequence: number;
  readonly writerId: string;
  readonly leaseMs: number;
}

/** Draws the next number of this tenant and opens the cycle under it. The caller holds the chain's lock and has voided what was open. */
export async function insertCycle(tx: Tx, cycle: NewCycle): Promise<CycleRow> {
  const { counter } = await tx.one<{ counter: number }>(
    `insert into cycle_counter (tenant_id, counter) values ($1, 1)
       on conflict (tenant_id) do update set counter = cycle_counter.counter + 1 returning counter`,
    [tx.tenantId],
  );
  const number = cycleToHex(cycleNumber(cycle.epoch.incarnation, counter));
  return tx.one<CycleRow>(
    `insert into replication_cycle (id, tenant_id, chain_id, branch_id, cycle, sequence, kind, manifest_kind, writer_id, epoch_incarnation,
                                    epoch_counter, parent_branch_id, parent_sequence, parent_cycle, parent_sha256, parent_path, lease_expires_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, now() + $17 * interval '1 millisecond')
     returning ${replicationCycleTable.list}`,
    [
      newId(),
      tx.tenantId,
      cycle.chainId,
      cycle.branchId,
      number,
      cycle.sequence,
      cycle.kind,
      cycle.manifestKind,
      cycle.writerId,
      cycle.epoch.incarnation,
      cycle.epoch.counter,
      ...refParams(cycle.parent),
      cycle.leaseMs,
    ],
  );
}

/** Ends what is open on a branch (on all branches of the chain when none is named): a newer attempt or a newer epoch took over. */
export async function voidOpenCycles(tx: Tx, chainId: ChainId, branchId: BranchId | null): Promise<void> {
  await tx.execute(
    `update replication_cycle set state = 'voided', ended_at = now()
      where tenant_id = $1 and chain_id = $2 and state = 'open' and ($3::uuid is null or branch_id = $3)`,
    [tx.tenantId, chainId, branchId],
  );
}

export async function getCycleByNumber(tx: Tx, cycle: bigint): Promise<CycleRow> {
  const row = await tx.maybeOne<CycleRow>(
    `select ${replicationCycleTable.list} from replication_cycle where tenant_id = $1 and cycle = $2`,
    [tx.tenantId, cycleToHex(cycle)],
  );
  if (row === undefined) throw catalogueErrors.cycleNotFound();
  return row;
}

export async function getCycle(tx: Tx, id: string): Promise<CycleRow> {
  const row = await tx.maybeOne<CycleRow>(`select ${replicationCycleTable.list} from replication_cycle where tenant_id = $1 and id = $2`, [
    tx.tenantId,
    id,
  ]);
  if (row === undefined) throw catalogueErrors.cycleNotFound();
  return row;
}

export async function renewLease(tx: Tx, id: string, leaseMs: number): Promise<Date> {
  const row = await tx.one<{ lease_expires_at: Date }>(
    `update replication_cycle set lease_expires_at = greatest(lease_expires_at, now() + $3 * interval '1 millisecond')
      where tenant_id = $1 and id = $2 returning lease_expires_at`,
    [tx.tenantId, id, leaseMs],
  );
  return row.lease_expires_at;
}

export async function isLeaseExpired(tx: Tx, id: string): Promise<boolean> {
  const row = await tx.one<{ expired: boolean }>(
    `select lease_expires_at <= now() as expired from replication_cycle where tenant_id = $1 and id = $2`,
    [tx.tenantId, id],
  );
  return row.expired;
}

/** Binds the cycle to one manifest, unless it is bound already. Says which one it is bound to. */
export async function bindManifest(tx: Tx, id: string, sha256: string): Promise<string> {
  const row = await tx.one<{ manifest_sha256: string }>(
    `update replication_cycle set manifest_sha256 = coalesce(manifest_sha256, $3) where tenant_id = $1 and id = $2 returning manifest_sha256`,
    [tx.tenantId, id, sha256],
  );
  return row.manifest_sha256;
}

/** An open cycle ends once; one that ended meanwhile stays as it is. */
export async function endCycle(
  tx: Tx,
  id: string,
  state: 'committed' | 'failed',
  failure: { code: string; message: string } | null,
): Promise<void> {
  await tx.execute(
    `update replication_cycle set state = $3, ended_at = now(), failure_code = $4, failure_message = $5
      where tenant_id = $1 and id = $2 and state = 'open'`,
    [tx.tenantId, id, state, failure?.code ?? null, failure?.message ?? null],
  );
}

export async function setMeasures(tx: Tx, id: string, measures: CycleMeasures): Promise<void> {
  await tx.execute(
    `update replication_cycle set changed_bytes = $3, resumed_uploads = $4, pause_ms = $5, duration_ms = $6 where tenant_id = $1 and id = $2`,
    [tx.tenantId, id, measures.changedBytes, measures.resumedUploads, measures.pauseMs, measures.durationMs],
  );
}

/** A segment is durable and belongs to the cycle. The same one may be told again; what it covers was fixed by its name. */
export async function insertSegment(tx: Tx, cycle: CycleRow, segment: ListEntry): Promise<void> {
  const { sha256, sizeBytes, footerBytes, footerSha256, recordCount, plainBytes, first, last } = segment;
  await tx.execute(
    `insert into chain_segment (tenant_id, chain_id, sha256, size_bytes, footer_bytes, footer_sha256, record_count, plain_bytes,
                                first_disk, first_block, last_disk, last_block)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict (tenant_id, chain_id, sha256) do nothing`,
    [
      tx.tenantId,
      cycle.chain_id,
      sha256,
      sizeBytes,
      footerBytes,
      footerSha256,
      recordCount,
      plainBytes,
      first.disk,
      first.block,
      last.disk,
      last.block,
    ],
  );
  // Asked after the row: collection locks the chain, which the row's foreign key waits for.
  if (await isCondemned(tx, cycle.chain_id, `s/${sha256}`)) throw catalogueErrors.segmentMissing(sha256);
  await tx.execute(`insert into cycle_segment (tenant_id, cycle_id, chain_id, sha256) values ($1, $2, $3, $4) on conflict do nothing`, [
    tx.tenantId,
    cycle.id,
    cycle.chain_id,
    sha256,
  ]);
}

export type SegmentRow = RowOf<typeof chainSegmentTable>;

/** The durable segments of a cycle, in the order of what they cover. */
export function segmentsOf(tx: Tx, cycleId: string): Promise<SegmentRow[]> {
  return tx.query<SegmentRow>(
    `select s.* from cycle_segment c
       join chain_segment s on s.tenant_id = c.tenant_id and s.chain_id = c.chain_id and s.sha256 = c.sha256
      where c.tenant_id = $1 and c.cycle_id = $2 order by s.first_disk, s.first_block`,
    [tx.tenantId, cycleId],
  );
}

export async function countSegments(tx: Tx, cycleId: string): Promise<number> {
  const { count } = await tx.one<{ count: number }>(
    `select count(*)::int as count from cycle_segment where tenant_id = $1 and cycle_id = $2`,
    [tx.tenantId, cycleId],
  );
  return count;
}

export async function insertList(tx: Tx, cycle: CycleRow, list: { readonly sha256: string; readonly entryCount: number }): Promise<void> {
  await tx.query(`select 1 from replica_chain where tenant_id = $1 and id = $2 for key share`, [tx.tenantId, cycle.chain_id]);
  if (await isCondemned(tx, cycle.chain_id, `l/${list.sha256}`)) throw catalogueErrors.listMissing(list.sha256);
  await tx.execute(`insert into cycle_list (tenant_id, cycle_id, sha256, entry_count) values ($1, $2, $3, $4) on conflict do nothing`, [
    tx.tenantId,
    cycle.id,
    list.sha256,
    list.entryCount,
  ]);
}

/** Whether collection deletes the object of this name, or has a short while ago. Nothing may refer to it then. */
async function isCondemned(tx: Tx, chainId: string, name: string): Promise<boolean> {
  const rows = await tx.query(
    `select 1 from chain_stray where tenant_id = $1 and chain_id = $2 and name = $3 and condemned_at is not null`,
    [tx.tenantId, chainId, name],
  );
  return rows.length > 0;
}

/** A manifest lists these segments of the cycle: from now on they are read through it. */
export async function listSegments(tx: Tx, chainId: string, names: readonly string[]): Promise<void> {
  await tx.execute(`update chain_segment set role = 'listed' where tenant_id = $1 and chain_id = $2 and sha256 = any($3::text[])`, [
    tx.tenantId,
    chainId,
    names,
  ]);
}

export async function listsOf(tx: Tx, cycleId: string): Promise<ReadonlyMap<string, number>> {
  const rows = await tx.query<{ sha256: string; entry_count: number }>(
    `select sha256, entry_count from cycle_list where tenant_id = $1 and cycle_id = $2`,
    [tx.tenantId, cycleId],
  );
  return new Map(rows.map(({ sha256, entry_count }) => [sha256, entry_count]));
}

export function epochOf(row: { readonly epoch_incarnation: number; readonly epoch_counter: number }): Epoch {
  return { incarnation: row.epoch_incarnation, counter: row.epoch_counter };
}

/** A request with another epoch than the chain's: its answer carries the one that holds. */
export function requireEpoch(holds: Epoch, presented: Epoch): void {
  if (compareEpochs(holds, presented) === 0) return;
  throw catalogueErrors.staleEpoch(holds);
}

export function toInterval(row: SegmentRow): SegmentInterval {
  return {
    sha256: row.sha256,
    first: { disk: row.first_disk, block: row.first_block },
    last: { disk: row.last_disk, block: row.last_block },
  };
}

export async function toCycleState(tx: Tx, row: CycleRow): Promise<CycleState> {
  const segments = await segmentsOf(tx, row.id);
  return {
    tenantId: asId<TenantId>(row.tenant_id),
    chainId: asId<ChainId>(row.chain_id),
    cycle: cycleOf(row.cycle),
    // To the chain a cycle that its writer gave up is as void as one that was taken over.
    status: row.state === 'failed' ? 'voided' : row.state,
    kind: row.manifest_kind,
    epoch: epochOf(row),
    branchId: asId<BranchId>(row.branch_id),
    sequence: row.sequence,
    parent: refOf(row, 'parent'),
    leaseExpiresAt: row.lease_expires_at,
    manifestSha256: row.manifest_sha256,
    segments: segments.map(toInterval),
  };
}
