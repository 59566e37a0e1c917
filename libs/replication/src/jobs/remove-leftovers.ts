import { type Installation, isNeededByOthers } from '#libs/chain';
import { Clock, DAY_MS, HOUR_MS } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { Reconciler, type ReconcilerContext } from '#libs/platform';
import type { ThirdSites } from '../third-sites.js';

/** No put takes this long: what is older was left behind by a process that died. */
const LEFT_AFTER_MS = DAY_MS;

/**
 * Removes what unfinished puts left in the stores: files of a directory, parts of uploads in a bucket, which nobody sees and somebody pays for. Never an object.
 * At a third site that another installation has or follows at they may be of that one's uploads, and are left to it. A third site that cannot be reached keeps nothing from the others; its turn comes again.
 */
export class RemoveLeftovers extends Reconciler {
  readonly name = 'replication.remove-leftovers';
  readonly intervalMs = 6 * HOUR_MS;

  constructor(
    private readonly store: ObjectStore,
    private readonly sites: ThirdSites,
    private readonly clock: Clock,
    private readonly installation: () => Promise<Installation>,
  ) {
    super();
  }

  async run({ logger }: Pick<ReconcilerContext, 'logger'>): Promise<void> {
    const olderThan = new Date(this.clock.now().getTime() - LEFT_AFTER_MS);
    const remove = async (store: ObjectStore, of: string): Promise<void> => {
      const removed = await store.removeLeftovers(olderThan);
      if (removed > 0) logger.info({ removed, of }, 'leftovers of unfinished uploads were removed');
    };
    for (const name of this.sites.names) {
      try {
        const site = await this.sites.open(name);
        if (!(await isNeededByOthers(site, await this.installation()))) await remove(site, name);
      } catch (error) {
        logger.warn({ error, of: name }, 'leftovers at a third site could not be removed');
      }
    }
    await remove(this.store, 'store');
  }
}
