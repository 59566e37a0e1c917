import { ObjectNames, tenantKeyRecordsOf } from '#libs/chain';
import { asId, type ChainId, messageOf, MINUTE_MS, PlatformError, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext, type Tx, UnitOfWork } from '#libs/platform';
import { planLocks } from '../domain/object-locks.js';
import { listChainsToLock, pageOfManifests, pageOfSegments, type PromisedChain, recordLocked } from '../tables/chain-objects.js';
import { isHolding } from '../tables/installation.js';
import { serverNow } from '../tables/points.js';

const ROUND_CHAINS = 50;
const PAGE_ROWS = 500;
const AT_ONCE = 8;

/**
 * Where the store can lock objects, keeps those that promised points stand on from being deleted there by anybody: the rest of the promise is
 * the database's (`recovery_point_guard`). A round that breaks off is done again; a lock is only ever extended. What comes between two rounds
 * is without a lock for that long. Indexes and exports are never locked: nothing is lost with them.
 */
export class LockPromisedObjects extends Reconciler {
  readonly name = 'replication.lock-promised-objects';
  readonly intervalMs = MINUTE_MS;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
  ) {
    super();
  }

  async run({ logger, signal }: ReconcilerContext): Promise<void> {
    if (!(await this.platform.run(isHolding))) return;
    const due = await this.platform.run((tx) => listChainsToLock(tx, ROUND_CHAINS));
    if (due.length === 0 || (await this.store.locking()) === 'none') return;
    for (const chain of due) {
      if (signal.aborted) return;
      const { tenant_id: tenantId, chain_id: chainId } = chain;
      try {
        const { objects, until } = await this.lockChain(chain, signal);
        logger.debug({ tenantId, chainId, objects, until }, 'objects of promised recovery points are locked');
      } catch (error) {
        if (signal.aborted) return;
        logger.warn({ tenantId, chainId, error: messageOf(error) }, 'objects of promised recovery points could not all be locked');
      }
    }
  }

  private async lockChain(chain: PromisedChain, signal: AbortSignal): Promise<{ readonly objects: number; readonly until: Date }> {
    const tenantId = asId<TenantId>(chain.tenant_id);
    const chainId = asId<ChainId>(chain.chain_id);
    const names = new ObjectNames(tenantId, chainId);
    const run = <T>(work: (tx: Tx) => Promise<T>): Promise<T> => this.unitOfWork.run(tenantId, work);
    const startedAt = await run(serverNow);
    const plan = planLocks({ promisedUntil: chain.promised_until, lockedUntil: chain.locked_until, now: startedAt });
    const since = plan.scope === 'all' ? null : chain.objects_locked_at;

    let objects = 0;
    const lock = async (keys: readonly string[]): Promise<void> => {
      for (let from = 0; from < keys.length; from += AT_ONCE) {
        signal.throwIfAborted();
        await Promise.all(keys.slice(from, from + AT_ONCE).map((key) => this.lock(key, plan.until)));
      }
      objects += keys.length;
    };
    for (const page of [pageOfManifests, pageOfSegments]) {
      for (let after: string | undefined = ''; after !== undefined;) {
        const from: string = after;
        const { keys, last } = await run((tx) => page(tx, names, { chainId, since, after: from, limit: PAGE_ROWS }));
        await lock(keys);
        after = last;
      }
    }
    // With whose it is, and what opens its keys: without these a rebuilt catalogue has the points, and no use of them.
    for (const prefix of [names.wrappedKeys, names.snapshots, `${names.prefix}f/`, `${names.prefix}r/`, tenantKeyRecordsOf(tenantId)]) {
      for await (const { key } of this.store.list(prefix)) await lock([key]);
    }
    await run((tx) => recordLocked(tx, chainId, plan.until, startedAt));
    return { objects, until: plan.until };
  }

  /** What was collected meanwhile belonged to no promised point. */
  private async lock(key: string, until: Date): Promise<void> {
    try {
      await this.store.lock(key, until);
    } catch (error) {
      if (!(error instanceof PlatformError && error.code === 'object.not-found')) throw error;
    }
  }
}
