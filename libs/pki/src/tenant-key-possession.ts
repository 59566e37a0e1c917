import { constants, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { idToBytes, type TenantId } from '#libs/kernel';
import { sha256Hex } from './fingerprint.js';

const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST } as const;

/**
 * Whoever brings a key shows that its private half is there, before anything is wrapped to it: RSA-PSS (SHA-256) by that very key over ASCII
 * `holdfast tenant key possession` NUL ‖ tenant id ‖ version (32 bits, big-endian) ‖ SHA-256 of the key (as SPKI). A key that nobody has would
 * lock the tenant out of everything when the former one is destroyed.
 */
export function signPossession(key: KeyObject, tenantId: TenantId, version: number): Buffer {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  return sign('sha256', statementOf(tenantId, version, spki), { key, ...PSS });
}

/** A malformed key or signature is one that does not hold. */
export function verifyPossession(spki: Uint8Array, tenantId: TenantId, version: number, signature: Uint8Array): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    return key.asymmetricKeyType === 'rsa' && verify('sha256', statementOf(tenantId, version, spki), { key, ...PSS }, signature);
  } catch {
    return false;
  }
}

function statementOf(tenantId: TenantId, version: number, spki: Uint8Array): Buffer {
  const versionBytes = Buffer.alloc(4);
  versionBytes.writeUInt32BE(version);
  return Buffer.concat([
    Buffer.from('holdfast tenant key possession\0', 'ascii'),
    idToBytes(tenantId),
    versionBytes,
    Buffer.from(sha256Hex(spki), 'hex'),
  ]);
}
