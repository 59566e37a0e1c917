import { asId, PlatformError, SECOND_MS, type TenantId } from '#libs/kernel';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext } from '#libs/platform';
import { listDuePublications } from '../tables/publications.js';
import { isHolding } from '../tables/installation.js';
import { AdvancePublication } from '../use-cases/advance-publication.js';

const AT_ONCE = 50;

/** Takes every publication that waits for it one step on. */
export class AdvancePublications extends Reconciler {
  readonly name = 'replication.advance-publications';
  readonly intervalMs = 2 * SECOND_MS;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly advance: AdvancePublication,
  ) {
    super();
  }

  async run({ logger, signal }: ReconcilerContext): Promise<boolean> {
    if (!(await this.platform.run(isHolding))) return false;
    const due = await this.platform.run((tx) => listDuePublications(tx, AT_ONCE));
    for (const { id, tenant_id, is_orphan: isOrphan } of due) {
      signal.throwIfAborted();
      const tenantId = asId<TenantId>(tenant_id);
      try {
        if (isOrphan) await this.advance.condemn(tenantId, id);
        await this.advance.execute(tenantId, id, signal);
      } catch (error) {
        if (signal.aborted) throw error;
        // One publication's trouble is not the others'.
        logger.error({ error, tenantId, publicationId: id }, 'a publication could not be taken on; it is tried again');
        if (error instanceof PlatformError) await this.advance.recordTrouble(tenantId, id, error);
      }
    }
    return due.length === AT_ONCE;
  }
}
