import { HOUR_MS } from '#libs/kernel';
import { PlatformUnitOfWork, Reconciler } from '#libs/platform';

/** Forgets what can no longer matter: tokens long past, denials of certificates that have ended, commands finished long ago. */
export class SweepIdentities extends Reconciler {
  readonly name = 'agents.sweep-identities';
  readonly intervalMs = HOUR_MS;

  constructor(private readonly platform: PlatformUnitOfWork) {
    super();
  }

  async run(): Promise<void> {
    await this.platform.run(async (tx) => {
      await tx.execute(`delete from enrolment_token where expires_at < now() - interval '30 days'`);
      await tx.execute(`delete from replica_node_token where expires_at < now() - interval '30 days'`);
      // A day more than its life, for clocks that differ.
      await tx.execute(`delete from denied_certificate where expires_at < now() - interval '1 day'`);
      await tx.execute(`delete from command where finished_at < now() - interval '30 days'`);
    });
  }
}
