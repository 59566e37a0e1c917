import { createHash } from 'node:crypto';

/** SHA-256 of a certificate's or public key's DER, lower-case hex: how either is named everywhere. */
export function sha256Hex(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('hex');
}
