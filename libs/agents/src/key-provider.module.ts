import { readFile } from 'node:fs/promises';
import { type DynamicModule, Global, Module } from '@nestjs/common';
import { z } from 'zod';
import { CodedError, Redacted, SystemClock } from '#libs/kernel';
import { FileKeyProvider, type Kek, KeyProvider, KeyProviders, openKmsKeyProvider, VaultKeyProvider } from '#libs/pki';
import { provide, Secrets } from '#libs/platform';
import { KeyProviderCheck } from './http/key-provider.check.js';

const secretText = z.string().transform((text) => new Redacted(text));

/** Who holds the tenants' private keys. Several may be configured: new keys are made by `KEY_PROVIDER`, older ones opened where they were made. */
export const keyProviderConfig = z.object({
  KEY_PROVIDER: z.enum(['file', 'vault', 'kms']).optional(),
  /** Of the file provider, which is the default: a directory on a volume of its own. */
  KEYS_DIR: z.string().optional(),
  VAULT_ADDR: z.string().optional(),
  VAULT_TRANSIT_MOUNT: z
    .string()
    .regex(/^[A-Za-z0-9_/-]{1,60}$/)
    .optional(),
  VAULT_NAMESPACE: z.string().optional(),
  /** PEM of the authorities that Vault's certificate is checked against. */
  VAULT_CACERT: z.string().optional(),
  VAULT_TOKEN: secretText.optional(),
  /** Instead of a token: an AppRole. */
  VAULT_ROLE_ID: z.string().optional(),
  VAULT_SECRET_ID: secretText.optional(),
  KMS_REGION: z.string().optional(),
  KMS_ENDPOINT: z.url().optional(),
  /** Without these two the usual chain of AWS applies: environment, profile, the machine's role. */
  KMS_ACCESS_KEY_ID: z.string().optional(),
  KMS_SECRET_ACCESS_KEY: secretText.optional(),
});
export type KeyProviderConfig = z.infer<typeof keyProviderConfig>;

/**
 * The configured key provider. For api and worker; a receiver has none, so that what enters through it cannot be opened there. Global. Needs
 * `Secrets`.
 */
@Global()
@Module({})
export class KeyProviderModule {
  static forRoot(config: KeyProviderConfig): DynamicModule {
    const provider = {
      provide: KeyProvider,
      useFactory: ({ kek, previousKek }: Secrets) => openConfiguredKeyProvider(config, kek, previousKek),
      inject: [Secrets],
    };
    return { module: KeyProviderModule, providers: [provider, provide(KeyProviderCheck, KeyProvider)], exports: [provider] };
  }
}

/** Throws `config.invalid`, `keys.provider-address`. No service is contacted yet. */
export async function openConfiguredKeyProvider(config: KeyProviderConfig, kek: Kek, previousKek: Kek | undefined): Promise<KeyProvider> {
  const { KEY_PROVIDER: first = 'file', KEYS_DIR: keysDir, VAULT_ADDR: vaultAddress, KMS_REGION: region } = config;
  const providers = new Map<string, KeyProvider>();
  if (keysDir !== undefined) providers.set('file', await FileKeyProvider.open(keysDir, kek, previousKek));
  if (vaultAddress !== undefined) providers.set('vault', await vaultOf(vaultAddress, config));
  if (region !== undefined) {
    const { KMS_ENDPOINT: endpoint, KMS_ACCESS_KEY_ID: accessKeyId, KMS_SECRET_ACCESS_KEY: secretAccessKey } = config;
    const credentials = accessKeyId === undefined || secretAccessKey === undefined ? undefined : { accessKeyId, secretAccessKey };
    providers.set('kms', await openKmsKeyProvider({ region, endpoint, credentials }));
  }
  const chosen = providers.get(first);
  if (chosen === undefined) {
    const needed = { file: 'KEYS_DIR', vault: 'VAULT_ADDR', kms: 'KMS_REGION' }[first];
    throw new CodedError('config.invalid', 'invalid', `${needed}: the key provider ${first} needs it`);
  }
  if (providers.size === 1) return chosen;
  providers.delete(first);
  return new KeyProviders(new Map([[first, chosen], ...providers]));
}

async function vaultOf(address: string, config: KeyProviderConfig): Promise<KeyProvider> {
  const { VAULT_TOKEN: token, VAULT_ROLE_ID: roleId, VAULT_SECRET_ID: secretId, VAULT_CACERT: caFile } = config;
  const isRole = roleId !== undefined && secretId !== undefined;
  if (!isRole && token === undefined)
    throw new CodedError('config.invalid', 'invalid', 'VAULT_TOKEN: give it, or VAULT_ROLE_ID and VAULT_SECRET_ID');
  return new VaultKeyProvider({
    address,
    mount: config.VAULT_TRANSIT_MOUNT ?? 'transit',
    auth: isRole ? { kind: 'app-role', roleId, secretId } : { kind: 'token', token: token! },
    namespace: config.VAULT_NAMESPACE,
    caPem: caFile === undefined ? undefined : await readFile(caFile, 'utf8'),
    clock: new SystemClock(),
  });
}
