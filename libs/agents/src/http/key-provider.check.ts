import { KeyProvider } from '#libs/pki';
import { ReadinessCheck } from '#libs/platform';

/** Tenant keys could be made and used now. */
export class KeyProviderCheck extends ReadinessCheck {
  readonly name = 'key-provider';

  constructor(private readonly keyProvider: KeyProvider) {
    super();
  }

  override async check(): Promise<void> {
    await this.keyProvider.check();
  }
}
