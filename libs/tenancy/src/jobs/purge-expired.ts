import { DAY_MS, HOUR_MS } from '#libs/kernel';
import { type PlatformUnitOfWork, Reconciler } from '#libs/platform';
import { purgeExpiredCredentials } from '../tables/credentials.js';

/** Expired tokens stay in their owner's list this long, so that people see why something stopped. */
const EXPIRED_TOKEN_LIFE_MS = 30 * DAY_MS;

/** Removes sessions that ended and tokens that expired long ago. They stopped holding by themselves: this only tidies. */
export class PurgeExpired extends Reconciler {
  readonly name = 'tenancy.purge-expired';
  readonly intervalMs = HOUR_MS;

  constructor(private readonly unitOfWork: PlatformUnitOfWork) {
    super();
  }

  async run(): Promise<void> {
    await this.unitOfWork.run((tx) => purgeExpiredCredentials(tx, EXPIRED_TOKEN_LIFE_MS));
  }
}
