import { asId, MINUTE_MS, SECOND_MS, type TenantId } from '#libs/kernel';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext, UnitOfWork } from '#libs/platform';
import { failPointExport, listLostExports } from '../tables/point-exports.js';

/** How long an export may wait to be begun, and how long its replica node may be silent. */
const PATIENCE = { queuedMs: 10 * MINUTE_MS, silentMs: 2 * MINUTE_MS };

/**
 * Ends exports that nobody will finish, so that people see it and ask again: those that found no replica node, and those whose node
 * fell silent or was revoked. If such a node comes back and finishes after all, the export counts as completed.
 */
export class FailLostExports extends Reconciler {
  readonly name = 'replication.fail-lost-exports';
  readonly intervalMs = 15 * SECOND_MS;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    private readonly patience: typeof PATIENCE = PATIENCE,
  ) {
    super();
  }

  async run({ logger }: Pick<ReconcilerContext, 'logger'>): Promise<void> {
    for (const { id, tenant_id, state } of await this.platform.run((tx) => listLostExports(tx, this.patience))) {
      const failure =
        state === 'Queued'
          ? { code: 'export.no-node', message: 'no replica node could take the export' }
          : { code: 'export.node-lost', message: 'the replica node that made the export is gone' };
      await this.unitOfWork.run(asId<TenantId>(tenant_id), (tx) => failPointExport(tx, id, failure));
      logger.warn({ exportId: id, tenantId: tenant_id, code: failure.code }, 'an export was given up');
    }
  }
}
