import type { BlockStretch, CycleAnswer, SegmentInterval } from '#libs/contracts/wire';
import type { CycleRow, SegmentRow } from '../tables/cycles.js';
import { cycleOf, refOf } from '../tables/manifest-ref.js';
import { CYCLE_LEASE_MS } from '../tables/postgres-replica-catalogue.js';

const NOTHING = { wholeBlocks: [], wantedRecords: 0 };

export function toCycleAnswer(
  row: CycleRow,
  relationshipId: string,
  asked: { readonly wholeBlocks: readonly BlockStretch[]; readonly wantedRecords: number } = NOTHING,
): CycleAnswer {
  const parent = refOf(row, 'parent');
  return {
    id: row.id,
    relationshipId,
    cycle: cycleOf(row.cycle).toString(),
    branchId: row.branch_id,
    sequence: row.sequence,
    parent: parent === null ? null : { ...parent, cycle: parent.cycle.toString() },
    state: row.state,
    kind: row.kind,
    manifestKind: row.manifest_kind,
    leaseExpiresAt: row.lease_expires_at.toISOString(),
    leaseMs: CYCLE_LEASE_MS,
    wholeBlocks: [...asked.wholeBlocks],
    wantedRecords: asked.wantedRecords,
  };
}

export function toSegmentInterval(row: SegmentRow): SegmentInterval {
  return {
    sha256: row.sha256,
    sizeBytes: row.size_bytes,
    firstDisk: row.first_disk,
    firstBlock: row.first_block,
    lastDisk: row.last_disk,
    lastBlock: row.last_block,
    recordCount: row.record_count,
  };
}
