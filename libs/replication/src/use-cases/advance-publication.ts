import type { PublicationIndex } from '#libs/contracts/http';
import {
  asId,
  type CrashPoints,
  HOUR_MS,
  MINUTE_MS,
  newId,
  NoCrashPoints,
  type PlatformError,
  SECOND_MS,
  type TenantId,
} from '#libs/kernel';
import { ObjectStore, putBytes, sha256Hex } from '#libs/object-store';
import { Outbox, PlatformUnitOfWork, type Tx, UnitOfWork } from '#libs/platform';
import { type NextFile, planPublication, type PublicationPlan } from '../domain/plan-publication.js';
import type { UpkeepCrashPoint } from '../domain/upkeep-crash-points.js';
import { exportRequested } from '../jobs/events.js';
import { endKeyRequest } from '../tables/key-requests.js';
import { requireSound } from '../tables/damaged-points.js';
import { deletePointExport, failPointExport, insertPointExport } from '../tables/point-exports.js';
import { holdPoint, serverNow } from '../tables/points.js';
import {
  countWriters,
  deletePublication,
  findPublication,
  listFilesInUse,
  listPublicationFiles,
  type PublicationFileRow,
  type PublicationRow,
  readPublishablePath,
  recordIndex,
  recordLook,
  setPublicationState,
} from '../tables/publications.js';
import { indexNameOf, locationOf, toIndex, toPublishedFile } from './publication-views.js';

/** How soon a publication that has everything looks for new points. */
const IDLE_MS = 15 * SECOND_MS;
/** While a file is made: its end wakes the publication before. */
const WAITING_MS = MINUTE_MS;
const RETRY_FIRST_MS = 5 * SECOND_MS;
const RETRY_MAX_MS = 15 * MINUTE_MS;
/** A replica node that was not heard of for so long has no upload under way. */
const WRITER_SILENT_MS = HOUR_MS;
const NOTHING_LEFT = { waitingCount: 0, intermediateCount: 0, attempts: 0 };
/** Failures in a row after which one that does not follow gives up. */
const ATTEMPTS_MAX = 5;

function retryMs(attempts: number): number {
  return Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(20, attempts - 1));
}

interface Look {
  readonly row: PublicationRow;
  readonly files: readonly PublicationFileRow[];
  readonly plan: PublicationPlan;
}

/**
 * Takes a publication one step on: asks for the next file, keeps the listing true, and removes what nothing needs. Rows and store say together how far
 * it has come, so each step may end anywhere and be repeated; one process does it at a time.
 */
export class AdvancePublication {
  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly outbox: Outbox,
    private readonly crashPoints: CrashPoints = new NoCrashPoints(),
  ) {}

  async execute(tenantId: TenantId, id: string, signal: AbortSignal): Promise<void> {
    const row = await this.unitOfWork.run(tenantId, (tx) => findPublication(tx, id));
    if (row === undefined) return;
    if (row.state === 'Deleting') return this.remove(tenantId, id, signal);
    const failure = await this.discardFailed(tenantId, id);
    const look = await this.unitOfWork.run(tenantId, (tx) => this.look(tx, id, failure));
    if (look === null) return;
    await this.writeIndex(tenantId, look, signal);
    for (const fileId of look.row.follow ? look.plan.removable : []) {
      await this.removeFile(
        tenantId,
        look.files.find((file) => file.id === fileId)!,
      );
    }
  }

  /** Shows what stands in its way, such as a damaged point, and lets it wait before it tries again. */
  async recordTrouble(tenantId: TenantId, id: string, { code, message }: PlatformError): Promise<void> {
    await this.unitOfWork.run(tenantId, async (tx) => {
      const row = await findPublication(tx, id, { lock: true });
      if (row === undefined || (row.state !== 'Active' && row.state !== 'Deleting')) return;
      const attempts = row.attempts + 1;
      if (attempts >= ATTEMPTS_MAX && row.state === 'Active' && !row.follow) await this.end(tx, id, 'Failed');
      const { waiting_count: waitingCount, intermediate_count: intermediateCount } = row;
      await recordLook(tx, id, { waitingCount, intermediateCount, dueMs: retryMs(attempts), attempts, failure: { code, message } });
    });
  }

  /** Ends a publication whose tenant is gone: nothing in the clear outlives the keys. */
  async condemn(tenantId: TenantId, id: string): Promise<void> {
    await this.unitOfWork.run(tenantId, (tx) => setPublicationState(tx, id, 'Deleting'));
  }

  private crash(point: UpkeepCrashPoint): void {
    this.crashPoints.reached(point);
  }

  /** What a file that could not be made may have left is taken away, so that it is made anew. */
  private async discardFailed(tenantId: TenantId, id: string): Promise<{ readonly code: string; readonly message: string } | null> {
    const files = await this.unitOfWork.run(tenantId, (tx) => listPublicationFiles(tx, id));
    const failed = files.filter(({ state }) => state === 'Failed');
    for (const file of failed) await this.removeFile(tenantId, file);
    const last = failed.at(-1);
    return last === undefined ? null : { code: last.failure_code ?? 'export.failed', message: last.failure_message ?? 'the export failed' };
  }

  private async look(tx: Tx, id: string, failure: { readonly code: string; readonly message: string } | null): Promise<Look | null> {
    const row = await findPublication(tx, id, { lock: true });
    if (row?.state !== 'Active') return null;
    const files = await listPublicationFiles(tx, id);
    const { path, points } = await readPublishablePath(tx, row.chain_id);
    const finished = files.filter(({ state }) => state === 'Completed').map(toPublishedFile);
    const wish = { points: row.points, disk: row.disk_ordinal };
    const plan = planPublication(wish, points, path, finished, await serverNow(tx), await listFilesInUse(tx, id));
    const isMaking = files.some(({ state }) => state !== 'Completed');
    const attempts = failure === null ? row.attempts : row.attempts + 1;
    if (failure !== null && attempts >= ATTEMPTS_MAX && !row.follow) await this.end(tx, id, 'Failed');
    else if (plan.next === null && !isMaking && !row.follow) await this.end(tx, id, 'Completed');
    else if (plan.next !== null && !isMaking && failure === null) files.push(await this.request(tx, row, plan.next));
    const dueMs = failure !== null ? retryMs(attempts) : plan.next === null && !isMaking ? IDLE_MS : WAITING_MS;
    const intermediateCount = plan.intermediates.size - (row.follow ? plan.removable.length : 0);
    await recordLook(tx, id, {
      waitingCount: plan.waitingCount,
      intermediateCount,
      dueMs,
      attempts,
      ...(failure === null ? {} : { failure }),
    });
    return { row, files, plan };
  }

  private async end(tx: Tx, id: string, state: 'Completed' | 'Failed'): Promise<void> {
    await setPublicationState(tx, id, state);
    await endKeyRequest(tx, id);
  }

  /** The file's name is made of its point's number and its own id: no try ever writes over another. */
  private async request(tx: Tx, row: PublicationRow, { pointId, disk, parentId }: NextFile): Promise<PublicationFileRow> {
    await holdPoint(tx, pointId);
    const { sequence, cycle, chain_id } = await tx.one<{ sequence: number; cycle: string; chain_id: string }>(
      `select sequence, cycle, chain_id from chain_manifest where tenant_id = $1 and id = $2`,
      [tx.tenantId, pointId],
    );
    await requireSound(tx, chain_id, cycle);
    const id = newId();
    const fileName = `${String(sequence).padStart(8, '0')}-${id.slice(-12)}.${row.format}`;
    await insertPointExport(tx, {
      id,
      recoveryPointId: asId(pointId),
      diskOrdinal: disk,
      format: row.format,
      baseExportId: parentId,
      fileName,
      objectKey: `${locationOf(tx.tenantId, row.id)}${disk}/${fileName}`,
      publicationId: row.id,
    });
    await this.outbox.add(tx, exportRequested, { tenantId: tx.tenantId, exportId: id }, id);
    return (await listPublicationFiles(tx, row.id)).find((file) => file.id === id)!;
  }

  /** Writes the listing anew where it is no longer true; what is about to be removed is not in it any more. */
  private async writeIndex(tenantId: TenantId, { row, files, plan }: Look, signal: AbortSignal): Promise<void> {
    const removed = new Set(row.follow ? plan.removable : []);
    const listed = files.filter(({ id, state }) => state === 'Completed' && !removed.has(id));
    const index: PublicationIndex = toIndex(row, listed, plan.intermediates);
    const bytes = Buffer.from(`${JSON.stringify(index, null, 1)}\n`);
    const sha256 = sha256Hex(bytes);
    if (sha256 === row.index_sha256) return;
    const next = { revision: row.index_revision + 1, sha256 };
    const key = `${locationOf(tenantId, row.id)}${indexNameOf(next)}`;
    await putBytes(this.store, key, bytes);
    this.crash('listing-stored');
    await this.unitOfWork.run(tenantId, (tx) => recordIndex(tx, row.id, next));
    this.crash('listing-noted');
    await this.sweep(tenantId, row.id, new Set([key, ...files.map(({ object_key }) => object_key)]), signal);
  }

  /** Former listings, and what a replica node wrote that had been given up before it was finished. */
  private async sweep(tenantId: TenantId, id: string, known: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    for await (const { key } of this.store.list(locationOf(tenantId, id))) {
      signal.throwIfAborted();
      if (!known.has(key)) await this.store.delete(key);
    }
  }

  private async removeFile(tenantId: TenantId, { id, object_key: key }: Pick<PublicationFileRow, 'id' | 'object_key'>): Promise<void> {
    await this.store.delete(key);
    await this.unitOfWork.run(tenantId, (tx) => deletePointExport(tx, id));
  }

  /**
   * A file that is being made is waited for, and so is whoever was told to make one that was given up since: the place is swept until nobody is left who could
   * write there once more.
   */
  private async remove(tenantId: TenantId, id: string, signal: AbortSignal): Promise<void> {
    const isMaking = await this.unitOfWork.run(tenantId, async (tx) => {
      const files = await listPublicationFiles(tx, id);
      for (const file of files) {
        if (file.state === 'Queued')
          await failPointExport(tx, file.id, { code: 'publication.deleting', message: 'the publication is deleted' });
      }
      const making = files.some(({ state }) => state === 'InProgress');
      if (making) await recordLook(tx, id, { ...NOTHING_LEFT, dueMs: RETRY_FIRST_MS });
      return making;
    });
    if (isMaking) return;
    // Asked before the sweep: what a writer that has ended by then left behind is found by it.
    const writers = await this.platform.run((tx) => countWriters(tx, tenantId, locationOf(tenantId, id), WRITER_SILENT_MS));
    await this.sweep(tenantId, id, new Set(), signal);
    this.crash('publication-swept');
    await this.unitOfWork.run(tenantId, async (tx) => {
      if (writers > 0) return recordLook(tx, id, { ...NOTHING_LEFT, dueMs: RETRY_FIRST_MS });
      await tx.execute(`delete from point_export where tenant_id = $1 and publication_id = $2`, [tx.tenantId, id]);
      await endKeyRequest(tx, id);
      await deletePublication(tx, id);
    });
  }
}
