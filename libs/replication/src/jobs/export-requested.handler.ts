import { sendCommand } from '#libs/agents';
import { Broker } from '#libs/cluster';
import { asId, assert, DAY_MS, type RecoveryPointId, type TenantId } from '#libs/kernel';
import { OutboxHandler, type Tx, UnitOfWork } from '#libs/platform';
import { exportRequested } from './events.js';
import type { KeyPurpose } from '../tables/key-requests.js';
import { findPointExport, getPointExport, type PointExportRow, startPointExport } from '../tables/point-exports.js';
import { toWireRef } from '../use-cases/agent-relationships.js';
import { resolvePoint } from '../use-cases/resolve-point.js';
import { GrantKeys } from '../use-cases/grant-keys.js';
import { findPointSource } from '../use-cases/role-changes.js';

/** Longer than any export takes; one that ended gives its lease up at once. */
const EXPORT_LEASE_MS = 7 * DAY_MS;

type Payload = { readonly tenantId: string; readonly exportId: string };

/** Finds a replica node for an export, gives it the keys, and tells it. A second run finds the export begun and sends nothing. */
export class ExportRequestedHandler extends OutboxHandler<Payload> {
  readonly topic = exportRequested;

  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly broker: Broker,
    private readonly grantKeys: GrantKeys,
  ) {
    super();
  }

  async handle({ tenantId: tenant, exportId }: Payload): Promise<void> {
    const tenantId = asId<TenantId>(tenant);
    const wanted = await this.unitOfWork.run(tenantId, async (tx) => {
      const row = await findPointExport(tx, exportId);
      if (row?.state !== 'Queued') return undefined;
      return { row, point: await findPointSource(tx, asId<RecoveryPointId>(row.recovery_point_id)) };
    });
    if (wanted === undefined) return;
    const { row, point } = wanted;
    // A publication's keys are released once for all of its files.
    const purpose: KeyPurpose =
      row.publication_id === null ? { kind: 'export', id: exportId } : { kind: 'publication', id: row.publication_id };
    const readers = await this.grantKeys.possibleReaders(tenantId, point, purpose);
    // The tenant has been asked; the release begins this anew.
    if (readers !== 'any' && readers.length === 0) return;
    const { replicaNodeId } = await this.broker.anyNode(readers);
    const keys = await this.grantKeys.execute(tenantId, point, replicaNodeId, purpose);
    await this.unitOfWork.run(tenantId, async (tx) => {
      if ((await findPointExport(tx, exportId, { lock: true }))?.state !== 'Queued') return;
      const base = await findBase(tx, row);
      const reader = { chainId: point.chainId, point: point.ref, base: base?.ref ?? null, id: exportId, holder: 'export' } as const;
      const map = await resolvePoint(tx, { ...reader, ttlMs: EXPORT_LEASE_MS });
      await sendCommand(tx, {
        to: { role: 'replica-node', id: replicaNodeId },
        kind: 'point.export',
        subjectId: exportId,
        payload: {
          exportId,
          source: { tenantId, chainId: point.chainId, point: toWireRef(point.ref), keys, map },
          diskOrdinal: row.disk_ordinal,
          format: row.format,
          base: base === null ? null : base.file,
          objectKey: row.object_key,
        },
      });
      await startPointExport(tx, exportId);
    });
  }
}

/** The point below a differencing file, and that point's file as the command names it. */
async function findBase(tx: Tx, row: PointExportRow) {
  if (row.base_export_id === null) return null;
  const base = await getPointExport(tx, row.base_export_id);
  const { ref } = await findPointSource(tx, asId<RecoveryPointId>(base.recovery_point_id));
  assert(base.unique_id !== null, 'a finished VHD or VHDX on which others may stand has an identity');
  return {
    ref,
    file: { point: toWireRef(ref), fileName: base.file_name, uniqueId: base.unique_id, timestampSeconds: base.timestamp_seconds },
  };
}
