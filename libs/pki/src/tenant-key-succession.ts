import { constants, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { idToBytes, type TenantId } from '#libs/kernel';
import { sha256Hex } from './fingerprint.js';

const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST } as const;

/**
 * A tenant that holds its key says by it which key follows: RSA-PSS (SHA-256) over ASCII `holdfast tenant key succession` NUL ‖ tenant id ‖
 * SHA-256 of the present key ‖ SHA-256 of the next one (each of the SPKI). Agents of such a tenant believe nobody else, so that a provider
 * cannot slip in a key of its own. A key that names itself as the next one gives itself into the provider's hands: whichever key the provider
 * then makes follows it.
 */
export function signSuccession(presentKey: KeyObject, tenantId: TenantId, nextSpki: Uint8Array): Buffer {
  const presentSpki = createPublicKey(presentKey).export({ type: 'spki', format: 'der' });
  return sign('sha256', statementOf(tenantId, presentSpki, nextSpki), { key: presentKey, ...PSS });
}

/** A malformed key or signature is one that does not hold. */
export function verifySuccession(presentSpki: Uint8Array, tenantId: TenantId, nextSpki: Uint8Array, signature: Uint8Array): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(presentSpki), format: 'der', type: 'spki' });
    return key.asymmetricKeyType === 'rsa' && verify('sha256', statementOf(tenantId, presentSpki, nextSpki), { key, ...PSS }, signature);
  } catch {
    return false;
  }
}

function statementOf(tenantId: TenantId, presentSpki: Uint8Array, nextSpki: Uint8Array): Buffer {
  return Buffer.concat([
    Buffer.from('holdfast tenant key succession\0', 'ascii'),
    idToBytes(tenantId),
    Buffer.from(sha256Hex(presentSpki), 'hex'),
    Buffer.from(sha256Hex(nextSpki), 'hex'),
  ]);
}
