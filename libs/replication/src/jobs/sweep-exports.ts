import { type ChainAddress, ObjectNames, requireStamp } from '#libs/chain';
import { HOUR_MS } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext, UnitOfWork } from '#libs/platform';
import { isHolding, readInstallation } from '../tables/installation.js';
import { exportsAmong, pageOfChains } from '../tables/point-exports.js';

const PAGE_CHAINS = 200;

/**
 * Deletes files in the clear that no export stands for. A replica node that was given up may still be uploading when the tenant deletes the export, and its
 * file appears after that: nobody could fetch it, nor delete it. It comes round again and again, so whatever appears late is found by a later round.
 *
 * An export's row is there before its file and goes after it, and no id is used twice: a file that was listed first and has no row then never gets one.
 */
export class SweepExports extends Reconciler {
  readonly name = 'replication.sweep-exports';
  readonly intervalMs = HOUR_MS;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
  ) {
    super();
  }

  async run({ logger, signal }: ReconcilerContext): Promise<void> {
    if (!(await this.platform.run(isHolding))) return;
    const installation = await this.platform.run(readInstallation);
    // Upkeep marks the store first: before that nothing is deleted on this database's word.
    if (!installation.isStamped) return;
    let after: ChainAddress | undefined;
    do {
      const chains = await this.platform.run((tx) => pageOfChains(tx, after, PAGE_CHAINS));
      for (const chain of chains) {
        signal.throwIfAborted();
        try {
          const deleted = await this.sweep(chain, () => requireStamp(this.store, installation), signal);
          if (deleted > 0) logger.warn({ ...chain, deleted }, 'files were deleted that no export stands for');
        } catch (error) {
          if (signal.aborted) throw error;
          // One chain's trouble is not the others'.
          logger.error({ ...chain, error }, 'the files of a chain could not be swept; they are looked at again');
        }
      }
      after = chains.at(-1);
    } while (after !== undefined);
  }

  private async sweep({ tenantId, chainId }: ChainAddress, requireOwn: () => Promise<void>, signal: AbortSignal): Promise<number> {
    const prefix = `${new ObjectNames(tenantId, chainId).prefix}e/`;
    const ids: string[] = [];
    for await (const { key } of this.store.list(prefix)) ids.push(key.slice(prefix.length));
    if (ids.length === 0) return 0;
    const known = await this.unitOfWork.run(tenantId, (tx) => exportsAmong(tx, ids));
    const strangers = ids.filter((id) => !known.has(id));
    if (strangers.length > 0) await requireOwn();
    for (const id of strangers) {
      signal.throwIfAborted();
      await this.store.delete(prefix + id);
    }
    return strangers.length;
  }
}
