import { ReadinessCheck } from '#libs/platform';
import { ProviderIdentity } from '../use-cases/provider-identity.js';

/** The key-encryption key opens what the database holds sealed: with another one this process could sign and release nothing. */
export class KeyEncryptionCheck extends ReadinessCheck {
  readonly name = 'key-encryption';

  constructor(private readonly provider: ProviderIdentity) {
    super();
  }

  override async check(): Promise<void> {
    await this.provider.assertOpens();
  }
}
