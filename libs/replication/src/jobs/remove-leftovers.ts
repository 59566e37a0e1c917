import { Clock, DAY_MS, HOUR_MS } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { Reconciler, type ReconcilerContext } from '#libs/platform';

/** No put takes this long: what is older was left behind by a process that died. */
const LEFT_AFTER_MS = DAY_MS;

/** Removes what unfinished puts left in the store: files of a directory, parts of uploads in a bucket, which nobody sees and somebody pays for. Never an object. */
export class RemoveLeftovers extends Reconciler {
  readonly name = 'replication.remove-leftovers';
  readonly intervalMs = 6 * HOUR_MS;

  constructor(
    private readonly store: ObjectStore,
    private readonly clock: Clock,
  ) {
    super();
  }

  async run({ logger }: Pick<ReconcilerContext, 'logger'>): Promise<void> {
    const removed = await this.store.removeLeftovers(new Date(this.clock.now().getTime() - LEFT_AFTER_MS));
    if (removed > 0) logger.info({ removed }, 'leftovers of unfinished uploads were removed from the store');
  }
}
