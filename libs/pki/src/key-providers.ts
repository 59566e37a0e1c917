import type { Redacted, TenantId } from '#libs/kernel';
import { KeyProvider, keyProviderErrors, type TenantKey } from './key-provider.js';
import type { KmsOptions } from './kms-key-provider.js';

/**
 * Several key providers as one: new keys are made by the first, and each key is used where it was made. So a deployment moves from files to a
 * key management service by naming both, and rotating its tenants' keys at leisure.
 */
export class KeyProviders extends KeyProvider {
  /** By the scheme that their references begin with, the first one first. */
  constructor(private readonly providers: ReadonlyMap<string, KeyProvider>) {
    super();
  }

  createTenantKey(tenantId: TenantId): Promise<TenantKey> {
    const [first] = this.providers.values();
    return first!.createTenantKey(tenantId);
  }

  async unwrap(reference: string, ciphertext: Uint8Array): Promise<Redacted<Buffer>> {
    return this.providerOf(reference).unwrap(reference, ciphertext);
  }

  async destroy(reference: string): Promise<void> {
    await this.providerOf(reference).destroy(reference);
  }

  override async reseal(): Promise<number> {
    const counts = await Promise.all([...this.providers.values()].map((provider) => provider.reseal()));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async check(): Promise<void> {
    await Promise.all([...this.providers.values()].map((provider) => provider.check()));
  }

  private providerOf(reference: string): KeyProvider {
    const scheme = reference.slice(0, reference.indexOf(':'));
    const provider = this.providers.get(scheme);
    if (provider === undefined) throw keyProviderErrors.unavailable(`of scheme ${scheme} is not configured`);
    return provider;
  }
}

/** Its SDK is large, and only the processes that use it load it. */
export async function openKmsKeyProvider(options: KmsOptions): Promise<KeyProvider> {
  const { KmsKeyProvider } = await import('./kms-key-provider.js');
  return new KmsKeyProvider(options);
}
