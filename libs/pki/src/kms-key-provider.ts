import {
  CreateKeyCommand,
  DecryptCommand,
  GetPublicKeyCommand,
  KMSClient,
  KMSServiceException,
  ListKeysCommand,
  ScheduleKeyDeletionCommand,
} from '@aws-sdk/client-kms';
import { assert, CodedError, Redacted, SECOND_MS, type TenantId } from '#libs/kernel';
import { sha256Hex } from './fingerprint.js';
import { isGuardedAddress } from './guarded-address.js';
import { KeyProvider, keyProviderErrors, type TenantKey } from './key-provider.js';

export interface KmsOptions {
  readonly region: string;
  /** Of a service that speaks the same; AWS unless given. https, or plain http to loopback. */
  readonly endpoint?: string | undefined;
  /** The SDK's usual chain (environment, profile, role of the machine) unless given. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: Redacted } | undefined;
}

/** KMS lets nobody delete a key at once; it is unusable from the request on, and gone after the shortest wait that there is. */
const DELETION_DAYS = 7;
const TIMEOUT_MS = 10 * SECOND_MS;
const REFERENCE = /^kms:([A-Za-z0-9-]{1,64})$/;

const REFUSALS = new Set([
  'AccessDeniedException',
  'UnrecognizedClientException',
  'InvalidSignatureException',
  'ExpiredTokenException',
  'InvalidClientTokenId',
  'CredentialsProviderError',
]);

/**
 * Tenant keys in AWS KMS: `RSA_4096` for `ENCRYPT_DECRYPT`, opened with `RSAES_OAEP_SHA_256`. Needs `kms:CreateKey`, `kms:TagResource`,
 * `kms:GetPublicKey`, `kms:Decrypt`, `kms:ScheduleKeyDeletion` and, for readiness, `kms:ListKeys`.
 */
export class KmsKeyProvider extends KeyProvider {
  readonly #client: KMSClient;

  constructor({ region, endpoint, credentials }: KmsOptions) {
    super();
    if (endpoint !== undefined && !isGuardedAddress(endpoint)) throw keyProviderErrors.unguarded('KMS');
    this.#client = new KMSClient({
      region,
      maxAttempts: 3,
      requestHandler: { requestTimeout: TIMEOUT_MS, connectionTimeout: TIMEOUT_MS },
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(credentials === undefined
        ? {}
        : { credentials: { accessKeyId: credentials.accessKeyId, secretAccessKey: credentials.secretAccessKey.reveal() } }),
    });
    // The SDK takes an endpoint from its environment and profiles as well.
    this.#client.middlewareStack.add(
      (next) => (request) => {
        const { protocol, hostname } = request.request as { readonly protocol: string; readonly hostname: string };
        if (!isGuardedAddress(`${protocol}//${hostname}/`)) throw keyProviderErrors.unguarded('KMS');
        return next(request);
      },
      { step: 'finalizeRequest', name: 'guardedAddress' },
    );
  }

  async createTenantKey(tenantId: TenantId): Promise<TenantKey> {
    try {
      const { KeyMetadata: made } = await this.#client.send(
        new CreateKeyCommand({
          KeySpec: 'RSA_4096',
          KeyUsage: 'ENCRYPT_DECRYPT',
          Description: `Holdfast tenant ${tenantId}`,
          Tags: [{ TagKey: 'holdfast-tenant', TagValue: tenantId }],
        }),
      );
      assert(made?.KeyId !== undefined, 'a key that was made has an id');
      const { PublicKey: publicKey } = await this.#client.send(new GetPublicKeyCommand({ KeyId: made.KeyId }));
      assert(publicKey !== undefined, 'an asymmetric key has a public half');
      const publicKeySpki = Buffer.from(publicKey);
      return { publicKeySpki, spkiSha256: sha256Hex(publicKeySpki), reference: `kms:${made.KeyId}` };
    } catch (error) {
      throw toProviderError(error);
    }
  }

  async unwrap(reference: string, ciphertext: Uint8Array): Promise<Redacted<Buffer>> {
    try {
      const { Plaintext: plaintext } = await this.#client.send(
        new DecryptCommand({ KeyId: idOf(reference), CiphertextBlob: ciphertext, EncryptionAlgorithm: 'RSAES_OAEP_SHA_256' }),
      );
      assert(plaintext !== undefined, 'what opens has a content');
      return new Redacted(Buffer.from(plaintext));
    } catch (error) {
      const name = error instanceof KMSServiceException ? error.name : '';
      if (name === 'InvalidCiphertextException' || name === 'ValidationException') throw keyProviderErrors.unopenable(error);
      throw toProviderError(error);
    }
  }

  async destroy(reference: string): Promise<void> {
    try {
      await this.#client.send(new ScheduleKeyDeletionCommand({ KeyId: idOf(reference), PendingWindowInDays: DELETION_DAYS }));
    } catch (error) {
      const known = toProviderError(error);
      // It waits for its deletion, or that is over.
      if (known.code !== 'tenant-key.not-found') throw known;
    }
  }

  async check(): Promise<void> {
    await this.#client.send(new ListKeysCommand({ Limit: 1 })).catch((error: unknown) => {
      throw toProviderError(error);
    });
  }
}

function idOf(reference: string): string {
  const id = REFERENCE.exec(reference)?.[1];
  if (id === undefined) throw keyProviderErrors.notFound();
  return id;
}

function toProviderError(error: unknown): ReturnType<typeof keyProviderErrors.notFound> {
  const name = error instanceof Error ? error.name : '';
  if (error instanceof CodedError && error.code === 'keys.provider-address') return error;
  if (name === 'NotFoundException' || name === 'KMSInvalidStateException' || (error as { code?: string }).code === 'tenant-key.not-found')
    return keyProviderErrors.notFound(error);
  if (REFUSALS.has(name)) return keyProviderErrors.refused(error);
  return keyProviderErrors.unavailable('does not answer, or cannot do this now', error);
}
