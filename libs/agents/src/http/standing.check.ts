import { ReadinessCheck } from '#libs/platform';
import type { PeerDirectory } from './peer-directory.js';

/** A receiver that may have missed revocations is not ready; its peers are sent to another. What it commits is checked in the database anyhow. */
export class StandingCheck extends ReadinessCheck {
  readonly name = 'identity-standing';

  constructor(private readonly directory: PeerDirectory) {
    super();
  }

  async check(): Promise<void> {
    this.directory.assertCertain();
  }
}
