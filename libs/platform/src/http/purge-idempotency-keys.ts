import { HOUR_MS } from '#libs/kernel';
import type { PlatformUnitOfWork } from '../database/unit-of-work.js';
import { Reconciler } from '../jobs/reconciler.js';

/** Forgets answers that nobody may ask for again. */
export class PurgeIdempotencyKeys extends Reconciler {
  readonly name = 'platform.purge-idempotency-keys';
  readonly intervalMs = HOUR_MS;

  constructor(private readonly unitOfWork: PlatformUnitOfWork) {
    super();
  }

  async run(): Promise<void> {
    await this.unitOfWork.run((tx) => tx.execute(`delete from idempotency_key where created_at < now() - interval '1 day'`));
  }
}
