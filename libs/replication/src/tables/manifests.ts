import {
  catalogueErrors,
  type CommittedPoint,
  cycleToHex,
  type Manifest,
  type ManifestKind,
  type ManifestRef,
  referenceTo,
} from '#libs/chain';
import { asId, type BranchId, type ChainId, newId, type RecoveryPointId, type TenantId } from '#libs/kernel';
import type { RowOf, Tx } from '#libs/platform';
import { epochOf } from './cycles.js';
import { cycleOf, refOf, refParams } from './manifest-ref.js';
import { insertPoint } from './points.js';
import { chainManifestTable, type recoveryPointTable } from './tables.js';

export type ManifestRow = RowOf<typeof chainManifestTable>;

/** Of a point that is there: with what keeps it. */
export type PointManifestRow = ManifestRow & Pick<RowOf<typeof recoveryPointTable>, 'immutable_until' | 'pinned_at' | 'pin_note'>;

export interface NewManifest {
  readonly manifest: Manifest;
  readonly sha256: string;
  readonly sentBytes: number;
  /** When it was acknowledged, where that was not just now. */
  readonly committedAt?: string;
}

/** The row of a committed cycle, and for a point its recovery point under the same id. */
export async function insertManifest(tx: Tx, { manifest, sha256, sentBytes, committedAt }: NewManifest): Promise<ManifestRow> {
  const row = await tx.one<ManifestRow>(
    `insert into chain_manifest (id, tenant_id, chain_id, branch_id, sequence, cycle, sha256, path, kind, parent_branch_id, parent_sequence,
                                 parent_cycle, parent_sha256, parent_path, epoch_incarnation, epoch_counter, instant, consistency, definition, sent_bytes,
                                 committed_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, coalesce($21, now())) returning ${chainManifestTable.list}`,
    [
      newId(),
      tx.tenantId,
      manifest.chainId,
      manifest.branchId,
      manifest.sequence,
      cycleToHex(manifest.cycle),
      sha256,
      referenceTo(manifest, sha256).path,
      manifest.kind,
      ...refParams(manifest.parent),
      manifest.epoch.incarnation,
      manifest.epoch.counter,
      manifest.instant,
      manifest.consistency,
      JSON.stringify({ vm: manifest.vm, disks: manifest.disks }),
      sentBytes,
      committedAt ?? null,
    ],
  );
  if (manifest.kind === 'point') await insertPoint(tx, row);
  return row;
}

export async function findManifestOfCycle(tx: Tx, cycleHex: string): Promise<ManifestRow | undefined> {
  return tx.maybeOne<ManifestRow>(`select ${chainManifestTable.list} from chain_manifest where tenant_id = $1 and cycle = $2`, [
    tx.tenantId,
    cycleHex,
  ]);
}

export function listManifests(
  tx: Tx,
  chainId: ChainId,
  filter: { readonly kind?: ManifestKind; readonly branchId?: BranchId },
): Promise<ManifestRow[]> {
  return tx.query<ManifestRow>(
    `select ${chainManifestTable.list} from chain_manifest
      where tenant_id = $1 and chain_id = $2 and ($3::text is null or kind = $3) and ($4::uuid is null or branch_id = $4)
      order by committed_at, cycle`,
    [tx.tenantId, chainId, filter.kind ?? null, filter.branchId ?? null],
  );
}

/** A committed cycle of either kind. */
export async function getManifest(tx: Tx, chainId: ChainId, id: RecoveryPointId): Promise<ManifestRow> {
  const row = await tx.maybeOne<ManifestRow>(
    `select ${chainManifestTable.list} from chain_manifest where tenant_id = $1 and chain_id = $2 and id = $3`,
    [tx.tenantId, chainId, id],
  );
  if (row === undefined) throw catalogueErrors.pointNotFound();
  return row;
}

/** A recovery point, which a staging manifest never is. */
export async function getPoint(tx: Tx, chainId: ChainId, id: RecoveryPointId): Promise<PointManifestRow> {
  const row = await tx.maybeOne<PointManifestRow>(
    `select m.*, p.immutable_until, p.pinned_at, p.pin_note from chain_manifest m join recovery_point p on p.tenant_id = m.tenant_id and p.id = m.id
      where m.tenant_id = $1 and m.chain_id = $2 and m.id = $3`,
    [tx.tenantId, chainId, id],
  );
  if (row === undefined) throw catalogueErrors.pointNotFound();
  return row;
}

export function manifestRefOf(row: ManifestRow): ManifestRef {
  return { branchId: asId<BranchId>(row.branch_id), sequence: row.sequence, cycle: cycleOf(row.cycle), sha256: row.sha256, path: row.path };
}

export function toCommittedPoint(row: ManifestRow): CommittedPoint {
  return {
    id: asId<RecoveryPointId>(row.id),
    tenantId: asId<TenantId>(row.tenant_id),
    chainId: asId<ChainId>(row.chain_id),
    kind: row.kind,
    ref: manifestRefOf(row),
    parent: refOf(row, 'parent'),
    epoch: epochOf(row),
    instant: row.instant,
    consistency: row.consistency,
    committedAt: row.committed_at,
  };
}
