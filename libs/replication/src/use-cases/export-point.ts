import { cycleToHex, ObjectNames } from '#libs/chain';
import { exportFileKind } from '#libs/contracts/common';
import type { ExportView } from '#libs/contracts/http';
import { asId, CodedError, DAY_MS, newId, type RecoveryPointId, type TenantId } from '#libs/kernel';
import { type ByteRange, ObjectStore } from '#libs/object-store';
import { Outbox, type Tx, UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { exportRequested } from '../jobs/events.js';
import { requireSound } from '../tables/damaged-points.js';
import { deletePointExport, getPointExport, insertPointExport, type PointExportRow, requireUnused } from '../tables/point-exports.js';
import { holdPoint } from '../tables/points.js';
import { requireHolding } from '../tables/installation.js';
import { findPointSource, type PointDescription } from './role-changes.js';

const FETCH_TOLD_MS = DAY_MS;

export interface ExportWish {
  readonly diskOrdinal: number;
  readonly format: PointExportRow['format'];
  /** A finished VHD or VHDX of an ancestor point: the export, of the same kind, is then a differencing one on top of that file. */
  readonly baseExportId: string | undefined;
  readonly allowDamaged: boolean;
}

/** A finished file, to be fetched. */
export interface ExportContent {
  readonly fileName: string;
  /** Of the whole file. */
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly objectKey: string;
}

/**
 * Files of recovery points, in the clear, as the tenant's explicit and audited act. A replica node, which may hold the keys, writes the
 * file into the tenant's place in the store; from there it is fetched.
 */
export class ExportPoint {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly outbox: Outbox,
    private readonly auditLog: AuditLog,
  ) {}

  request(tenantId: TenantId, actor: Actor, pointId: RecoveryPointId, wish: ExportWish): Promise<ExportView> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await requireHolding(tx);
      await holdPoint(tx, pointId);
      const point = await findPointSource(tx, pointId);
      if (!wish.allowDamaged) await requireSound(tx, point.chainId, cycleToHex(point.ref.cycle));
      const disk = point.definition.disks.find(({ ordinal }) => ordinal === wish.diskOrdinal);
      if (disk === undefined) throw new CodedError('export.no-such-disk', 'invalid', 'the recovery point has no disk of this number');
      if (wish.baseExportId !== undefined) await this.requireBase(tx, wish, wish.baseExportId, pointId);
      const id = newId();
      await insertPointExport(tx, {
        id,
        recoveryPointId: pointId,
        diskOrdinal: wish.diskOrdinal,
        format: wish.format,
        baseExportId: wish.baseExportId ?? null,
        fileName: fileNameOf(point, wish),
        objectKey: `${new ObjectNames(tenantId, point.chainId).prefix}e/${id}`,
      });
      await this.outbox.add(tx, exportRequested, { tenantId, exportId: id }, id);
      await this.auditLog.append(tx, {
        actor: auditActorOf(actor),
        action: 'export.requested',
        subject: { kind: 'recovery-point', id: pointId },
        details: { exportId: id, diskOrdinal: wish.diskOrdinal, format: wish.format },
      });
      return toExportView(await getPointExport(tx, id));
    });
  }

  get(tenantId: TenantId, id: string): Promise<ExportView> {
    return this.unitOfWork.run(tenantId, async (tx) => toExportView(await getPointExport(tx, id)));
  }

  /** The finished file; its bytes are {@link read}. */
  async content(tenantId: TenantId, id: string): Promise<ExportContent> {
    const row = await this.unitOfWork.run(tenantId, (tx) => getPointExport(tx, id));
    const { state, file_name: fileName, size_bytes: sizeBytes, sha256, object_key: objectKey } = row;
    if (state !== 'Completed' || sizeBytes === null || sha256 === null)
      throw new CodedError('export.not-ready', 'conflict', `this export is ${state}`, { state });
    return { fileName, sizeBytes, sha256, objectKey };
  }

  /** Before the first byte of it leaves. Ranges and repeats are one fetch, for a day. */
  async noteFetch(tenantId: TenantId, actor: Actor, id: string): Promise<void> {
    await this.unitOfWork.run(tenantId, async (tx) => {
      const { recovery_point_id, file_name, publication_id } = await getPointExport(tx, id);
      const entry = {
        actor: auditActorOf(actor),
        action: 'export.fetched',
        subject: { kind: 'export', id },
        details: { recoveryPointId: recovery_point_id, fileName: file_name, publicationId: publication_id },
      };
      await this.auditLog.appendOnce(tx, entry, FETCH_TOLD_MS);
    });
  }

  read({ objectKey, sizeBytes }: ExportContent, range: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    const isWhole = range.offset === 0 && range.length === sizeBytes;
    return isWhole ? this.store.stream(objectKey) : this.store.stream(objectKey, range);
  }

  /** Takes the file out of the store, then forgets it; a crash in between is mended by asking again. */
  async delete(tenantId: TenantId, actor: Actor, id: string): Promise<void> {
    const row = await this.unitOfWork.run(tenantId, async (tx) => {
      const found = await getPointExport(tx, id);
      if (found.publication_id !== null)
        throw new CodedError('export.of-publication', 'conflict', 'this file belongs to a publication; delete that', {
          publicationId: found.publication_id,
        });
      await requireUnused(tx, id);
      return found;
    });
    if (row.state === 'Queued' || row.state === 'InProgress')
      throw new CodedError('export.not-ready', 'conflict', `this export is ${row.state}`, { state: row.state });
    await this.store.delete(row.object_key);
    await this.unitOfWork.run(tenantId, async (tx) => {
      await deletePointExport(tx, id);
      await this.auditLog.append(tx, { actor: auditActorOf(actor), action: 'export.deleted', subject: { kind: 'export', id } });
    });
  }

  private async requireBase(tx: Tx, wish: ExportWish, baseId: string, pointId: RecoveryPointId): Promise<void> {
    const base = await getPointExport(tx, baseId);
    const isSameKind = ['vhd', 'vhdx'].includes(wish.format) && exportFileKind(base.format) === wish.format;
    // A publication's files come and go by its own rules.
    const isFinished = base.state === 'Completed' && base.unique_id !== null && base.publication_id === null;
    if (!isSameKind || !isFinished || base.disk_ordinal !== wish.diskOrdinal) {
      throw new CodedError(
        'export.base-unfit',
        'invalid',
        'a differencing VHD or VHDX stands on a finished file of its kind of the same disk',
      );
    }
    await holdPoint(tx, base.recovery_point_id);
    const ancestors = await tx.query(
      `with recursive path (cycle, parent_cycle) as (
         select cycle, parent_cycle from chain_manifest where tenant_id = $1 and id = $2
         union all
         select m.cycle, m.parent_cycle from chain_manifest m join path p on m.tenant_id = $1 and m.cycle = p.parent_cycle)
       select 1 from path join chain_manifest b on b.tenant_id = $1 and b.cycle = path.cycle where b.id = $3`,
      [tx.tenantId, pointId, base.recovery_point_id],
    );
    if (ancestors.length === 0 || base.recovery_point_id === pointId)
      throw new CodedError('export.base-not-ancestor', 'invalid', 'the base must be of an earlier recovery point on the same branch');
  }
}

/** Display names never become paths: what is left of the VM's name is what every file system takes. */
function fileNameOf(point: PointDescription, { diskOrdinal, format }: ExportWish): string {
  const name = point.definition.vm.name.replaceAll(/[^A-Za-z0-9._-]+/g, '-').slice(0, 64) || 'vm';
  return `${name}-disk${diskOrdinal}-${String(point.ref.sequence).padStart(6, '0')}.${exportFileKind(format)}`;
}

export function toExportView(row: PointExportRow): ExportView {
  return {
    id: row.id,
    recoveryPointId: asId(row.recovery_point_id),
    diskOrdinal: row.disk_ordinal,
    format: row.format,
    baseExportId: row.base_export_id,
    state: row.state,
    fileName: row.file_name,
    sizeBytes: row.size_bytes,
    failureCode: row.failure_code,
    failureMessage: row.failure_message,
    createdAt: row.created_at.toISOString(),
  };
}
