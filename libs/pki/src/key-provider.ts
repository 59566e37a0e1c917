import { CodedError, type Redacted, type TenantId } from '#libs/kernel';

export interface TenantKey {
  /** SubjectPublicKeyInfo, DER: RSA of at least 3,072 bits. Agents wrap their data keys to it. */
  readonly publicKeySpki: Buffer;
  /** SHA-256 of it, lower-case hex: what enrolment tokens pin. */
  readonly spkiSha256: string;
  /** Names the private half to this provider: its scheme, a colon, the rest opaque to everyone else; at most 200 characters. Not a secret. */
  readonly reference: string;
}

/**
 * Holds the private halves of tenant keys; they never leave it. Fit for a file, a Vault transit key or a KMS key: each can make an RSA key,
 * decrypt RSA-OAEP-SHA-256 with it, and destroy it.
 *
 * Whatever an adapter's service is out of reach for, `keys.provider-unavailable` says it, and `keys.provider-refused` that the service does not
 * accept the credentials or what they may do. Both are worth retrying: the second one after somebody has mended it.
 */
export abstract class KeyProvider {
  /** Makes a new key, durable before it returns. Every call makes another one. */
  abstract createTenantKey(tenantId: TenantId): Promise<TenantKey>;

  /**
   * Opens what was wrapped to the key with RSA-OAEP-SHA-256. Throws `tenant-key.not-found` (also after {@link destroy}),
   * `tenant-key.corrupt`, `wrapped-key.unopenable`, or an `unavailable` error worth retrying.
   */
  abstract unwrap(reference: string, ciphertext: Uint8Array): Promise<Redacted<Buffer>>;

  /** Shreds the key: all that was wrapped to it is lost for good. A key that is already gone is no error. */
  abstract destroy(reference: string): Promise<void>;

  /** Puts what this provider has sealed under a former key-encryption key of its own under the present one; says how many those were. */
  async reseal(): Promise<number> {
    return 0;
  }

  /** Throws unless keys could be made and used now. Costs one small request, and changes nothing. */
  abstract check(): Promise<void>;
}

export const keyProviderErrors = {
  notFound: (cause?: unknown): CodedError => new CodedError('tenant-key.not-found', 'not-found', 'there is no such tenant key', {}, cause),
  unopenable: (cause?: unknown): CodedError =>
    new CodedError('wrapped-key.unopenable', 'invalid', 'a wrapped key does not open: wrapped to another key, or damaged', {}, cause),
  /** `what` may reach a tenant: name no address. */
  unavailable: (what: string, cause?: unknown): CodedError =>
    new CodedError('keys.provider-unavailable', 'unavailable', `the key provider ${what}`, {}, cause),
  /** Wrapped keys go there and opened ones come back, with the credentials that open them: nobody on the way may read along. */
  unguarded: (service: string): CodedError =>
    new CodedError('keys.provider-address', 'invalid', `the address of ${service} begins with https:; plain http: is for this host only`),
  refused: (cause?: unknown): CodedError =>
    new CodedError(
      'keys.provider-refused',
      'unavailable',
      'the key provider does not accept the credentials of this process, or not for this',
      {},
      cause,
    ),
};
