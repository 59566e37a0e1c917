import {
  constants,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  privateDecrypt,
  publicEncrypt,
  sign,
  verify,
  type KeyObject,
} from 'node:crypto';
import { promisify } from 'node:util';
import { CodedError, Redacted } from '#libs/kernel';

const generate = promisify(generateKeyPair);

export const UNWRAPPING_KEY_BITS_MIN = 3072;
const UNWRAPPING_KEY_BITS_MAX = 8192;

export interface PrivateKey {
  /** PKCS#8 PEM. */
  readonly privateKeyPem: Redacted;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKeySpki: Buffer;
}

/** The keys of an agent or replica node. They are made on its own host and the private halves never leave it. */
export interface IdentityKeys {
  /** ECDSA P-256: the certificate's key; also signs the key objects that the writer uploads. */
  readonly signing: PrivateKey;
  /** RSA-3072: data keys are wrapped to its public half when a grant releases them to this host. */
  readonly unwrapping: PrivateKey;
}

/** Makes both key pairs. The RSA one takes up to a second or so of a thread of the pool, not of the event loop. */
export async function generateIdentity(): Promise<IdentityKeys> {
  const [signing, unwrapping] = await Promise.all([generateSigningKey(), generateUnwrappingKey()]);
  return { signing, unwrapping };
}

/** ECDSA P-256, for identities and TLS servers. */
export async function generateSigningKey(): Promise<PrivateKey> {
  return exported(await generate('ec', { namedCurve: 'P-256' }));
}

/** RSA-3072, for OAEP with SHA-256. */
export async function generateUnwrappingKey(): Promise<PrivateKey> {
  return exported(await generate('rsa', { modulusLength: UNWRAPPING_KEY_BITS_MIN }));
}

/** Checks a public key that a peer offers to have data keys wrapped to. Throws `wrapping-key.malformed` or `wrapping-key.unfit`. */
export function parseWrappingKey(publicKeySpki: Uint8Array): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: Buffer.from(publicKeySpki), format: 'der', type: 'spki' });
  } catch (error) {
    throw new CodedError('wrapping-key.malformed', 'invalid', 'this is not a public key', {}, error);
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== 'rsa' || bits < UNWRAPPING_KEY_BITS_MIN || bits > UNWRAPPING_KEY_BITS_MAX) {
    throw new CodedError(
      'wrapping-key.unfit',
      'invalid',
      `a wrapping key is RSA with ${UNWRAPPING_KEY_BITS_MIN} to ${UNWRAPPING_KEY_BITS_MAX} bits`,
    );
  }
  return key;
}

/** Wraps a small secret (≤ 318 bytes under a 3,072-bit key) with RSA-OAEP-SHA-256. Errors as {@link parseWrappingKey}. */
export function wrapToKey(publicKeySpki: Uint8Array, secret: Uint8Array): Buffer {
  return publicEncrypt({ key: parseWrappingKey(publicKeySpki), ...OAEP }, secret);
}

/** Unwraps with the private half. Throws `wrapped-key.unopenable` when it was wrapped to another key or is damaged. */
export function unwrapWithKey(privateKeyPem: Redacted, wrapped: Uint8Array): Redacted<Buffer> {
  const key = createPrivateKey(privateKeyPem.reveal());
  try {
    return new Redacted(privateDecrypt({ key, ...OAEP }, wrapped));
  } catch (error) {
    throw new CodedError('wrapped-key.unopenable', 'invalid', 'a wrapped key does not open: wrapped to another key, or damaged', {}, error);
  }
}

/** ECDSA P-256 over SHA-256 of the message; 64 bytes (r ‖ s). */
export function signMessage(privateKeyPem: Redacted, message: Uint8Array): Buffer {
  return sign('sha256', message, { key: privateKeyPem.reveal(), dsaEncoding: 'ieee-p1363' });
}

/** Whether the owner of the P-256 key signed the message. A malformed key or signature is a signature that does not hold. */
export function verifyMessage(publicKeySpki: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(publicKeySpki), format: 'der', type: 'spki' });
    if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') return false;
    return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
  } catch {
    return false;
  }
}

const OAEP = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' } as const;

function exported(pair: { publicKey: KeyObject; privateKey: KeyObject }): PrivateKey {
  return {
    privateKeyPem: new Redacted(pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string),
    publicKeySpki: pair.publicKey.export({ type: 'spki', format: 'der' }),
  };
}
