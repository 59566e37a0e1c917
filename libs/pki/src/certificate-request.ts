import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { CodedError, type Redacted } from '#libs/kernel';
import { sha256Hex } from './fingerprint.js';
import { fromPem, toPem } from './pem.js';
import * as x509 from './x509.js';

const LABEL = 'CERTIFICATE REQUEST';
const TEXT_LENGTH_MAX = 16 * 1024;
const ECDSA_P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export interface CertificateRequest {
  /** SPKI DER, ECDSA P-256; re-encoded, so one key has one form. */
  readonly publicKeySpki: Buffer;
  readonly spkiSha256: string;
}

/** A PKCS#10 request in PEM for an ECDSA P-256 key. It carries nothing but the key: names are the server's to give. */
export async function createCertificateRequest(privateKeyPem: Redacted): Promise<string> {
  const privateKey = createPrivateKey(privateKeyPem.reveal());
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: ['holdfast'] }],
    signingAlgorithm: ECDSA_P256,
    keys: {
      privateKey: privateKey.toCryptoKey(ECDSA_P256, false, ['sign']),
      publicKey: createPublicKey(privateKey).toCryptoKey(ECDSA_P256, true, ['verify']),
    },
  });
  return toPem(LABEL, Buffer.from(request.rawData));
}

/**
 * Takes the public key out of a request and ignores every other field. Checks that the sender holds the private half. Throws
 * `certificate-request.malformed`, `.unfit-key` (not ECDSA P-256) or `.not-signed-by-key`.
 */
export async function parseCertificateRequest(pem: string): Promise<CertificateRequest> {
  const blocks = pem.length > TEXT_LENGTH_MAX ? [] : fromPem(LABEL, pem);
  if (blocks.length !== 1) throw malformed();
  let request: x509.Pkcs10CertificateRequest;
  let offeredSpki: Buffer;
  try {
    request = new x509.Pkcs10CertificateRequest(blocks[0] as Buffer<ArrayBuffer>);
    offeredSpki = Buffer.from(request.publicKey.rawData);
  } catch (error) {
    throw malformed(error);
  }
  const publicKeySpki = parseSigningKey(offeredSpki);
  if (!(await isSelfSigned(request))) {
    throw new CodedError('certificate-request.not-signed-by-key', 'invalid', 'the request is not signed by the key it is for');
  }
  return { publicKeySpki, spkiSha256: sha256Hex(publicKeySpki) };
}

/** Checks that a public key is ECDSA P-256, and re-encodes it. Throws `certificate-request.unfit-key`. */
export function parseSigningKey(spki: Uint8Array): Buffer<ArrayBuffer> {
  let key: KeyObject | undefined;
  try {
    key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch {
    // The same refusal as for a key of another kind.
  }
  if (key?.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new CodedError('certificate-request.unfit-key', 'invalid', 'the key of a certificate is ECDSA on P-256');
  }
  return key.export({ type: 'spki', format: 'der' }) as Buffer<ArrayBuffer>;
}

async function isSelfSigned(request: x509.Pkcs10CertificateRequest): Promise<boolean> {
  try {
    return await request.verify();
  } catch {
    return false;
  }
}

function malformed(cause?: unknown): CodedError {
  return new CodedError('certificate-request.malformed', 'invalid', 'this is not a PKCS#10 certificate request', {}, cause);
}
