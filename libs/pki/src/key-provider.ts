import type { Redacted, TenantId } from '#libs/kernel';

export interface TenantKey {
  /** SubjectPublicKeyInfo, DER: RSA of at least 3,072 bits. Agents wrap their data keys to it. */
  readonly publicKeySpki: Buffer;
  /** SHA-256 of it, lower-case hex: what enrolment tokens pin. */
  readonly spkiSha256: string;
  /** Names the private half to this provider; opaque to everyone else; at most 200 characters. Not a secret. */
  readonly reference: string;
}

/**
 * Holds the private halves of tenant keys; they never leave it. Fit for a file, a Vault transit key or a KMS key: each can make an RSA key,
 * decrypt RSA-OAEP-SHA-256 with it, and destroy it.
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
}
