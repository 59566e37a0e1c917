import {
  createPrivateKey,
  createPublicKey,
  randomBytes,
  X509Certificate as NodeCertificate,
  type KeyObject,
  type webcrypto,
} from 'node:crypto';
import { assert, CodedError, DAY_MS, MINUTE_MS, Redacted, SECOND_MS, type Clock } from '#libs/kernel';
import { sha256Hex } from './fingerprint.js';
import type { PrivateKey } from './identity-keys.js';
import { nameConstraintsToUriHost } from './name-constraints.js';
import { fromPem, toPem } from './pem.js';
import * as x509 from './x509.js';

/** What a database row or file keeps of an authority; the private key sealed under the KEK, never in the clear. */
export interface AuthorityMaterial {
  readonly certificatePem: string;
  /** PKCS#8 PEM of an ECDSA P-256 key. */
  readonly privateKeyPem: Redacted;
}

export interface IssuedCertificate {
  readonly certificatePem: string;
  /** The leaf, then every certificate up to and with the root: what the owner presents. */
  readonly chainPem: string;
  /** SHA-256 of the leaf's DER, lower-case hex. */
  readonly fingerprintSha256: string;
  /** Lower-case hex, 128 bits of which at least 126 are random. */
  readonly serial: string;
  /** The issuing authority's fingerprint: SHA-256 of its public key, lower-case hex. */
  readonly issuerFingerprintSha256: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

export interface LeafProfile {
  readonly commonName: string;
  /** SPKI DER of an ECDSA P-256 key. */
  readonly publicKeySpki: Uint8Array<ArrayBuffer>;
  readonly uri: string;
  readonly dnsNames: readonly string[];
  readonly ipAddresses?: readonly string[];
  readonly usages: readonly x509.ExtendedKeyUsage[];
  readonly ttlMs: number;
}

/** Certificates are dated back, so that a peer whose clock is a little slow accepts them at once. */
const BACKDATE_MS = 5 * MINUTE_MS;
const SERIAL_SIZE_BYTES = 16;
const ECDSA_P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;

/** A certificate authority's certificate and key, able to sign. The classes over it decide what may be signed. */
export class CertificateAuthority {
  readonly certificatePem: string;
  /** SHA-256 of its public key (SPKI), lower-case hex. It is the authority's key identifier too (RFC 7093, method 4), so each leaf carries it. */
  readonly fingerprintSha256: string;
  readonly notAfter: Date;
  /** The host of the authority's own URI name: for an intermediate, the only host it may issue for. */
  readonly uriHost: string;

  private constructor(
    private readonly certificate: x509.X509Certificate,
    private readonly signingKey: webcrypto.CryptoKey,
    private readonly privateKeyPem: Redacted,
    /** PEM of what stands above it, up to the root; empty for a root. */
    readonly parentsPem: string,
    readonly clock: Clock,
  ) {
    this.certificatePem = toPem('CERTIFICATE', Buffer.from(certificate.rawData));
    this.fingerprintSha256 = sha256Hex(Buffer.from(certificate.publicKey.rawData));
    this.notAfter = certificate.notAfter;
    this.uriHost = uriHostOf(certificate);
  }

  static async createRoot(
    key: PrivateKey,
    options: { commonName: string; uriHost: string; ttlMs: number; clock: Clock },
  ): Promise<CertificateAuthority> {
    const { publicKey, privateKey } = keysOf(key.privateKeyPem);
    const certificate = await x509.X509CertificateGenerator.create({
      ...subjectAndValidity(options.commonName, options.clock, options.ttlMs),
      issuer: commonName(options.commonName),
      publicKey: spkiOf(publicKey),
      signingKey: signingKeyOf(privateKey),
      extensions: [...authorityExtensions(1, options.uriHost), new x509.SubjectKeyIdentifierExtension(sha256Hex(spkiOf(publicKey)))],
    });
    return new CertificateAuthority(certificate, signingKeyOf(privateKey), key.privateKeyPem, '', options.clock);
  }

  /** An authority with path length 0 that may issue for one URI host only. */
  async createIntermediate(
    key: PrivateKey,
    options: { commonName: string; uriHost: string; ttlMs: number },
  ): Promise<CertificateAuthority> {
    const { publicKey, privateKey } = keysOf(key.privateKeyPem);
    const certificate = await x509.X509CertificateGenerator.create({
      ...subjectAndValidity(options.commonName, this.clock, options.ttlMs, this.notAfter),
      issuer: this.certificate.subjectName,
      publicKey: spkiOf(publicKey),
      signingKey: this.signingKey,
      extensions: [
        ...authorityExtensions(0, options.uriHost),
        nameConstraintsToUriHost(options.uriHost),
        new x509.SubjectKeyIdentifierExtension(sha256Hex(spkiOf(publicKey))),
        new x509.AuthorityKeyIdentifierExtension(this.fingerprintSha256),
      ],
    });
    return new CertificateAuthority(certificate, signingKeyOf(privateKey), key.privateKeyPem, this.chainPem, this.clock);
  }

  /** Throws `certificate-authority.malformed` when certificate and key do not parse or belong together. */
  static load(material: AuthorityMaterial, parentsPem: string, clock: Clock): CertificateAuthority {
    try {
      const [der] = fromPem('CERTIFICATE', material.certificatePem);
      assert(der !== undefined, 'no certificate');
      const { privateKey } = keysOf(material.privateKeyPem);
      assert(new NodeCertificate(der).checkPrivateKey(privateKey), "the key is not the certificate's");
      return new CertificateAuthority(new x509.X509Certificate(der), signingKeyOf(privateKey), material.privateKeyPem, parentsPem, clock);
    } catch (error) {
      throw new CodedError('certificate-authority.malformed', 'corrupt', "an authority's certificate or key is damaged", {}, error);
    }
  }

  get chainPem(): string {
    return this.certificatePem + this.parentsPem;
  }

  get material(): AuthorityMaterial {
    return { certificatePem: this.certificatePem, privateKeyPem: this.privateKeyPem };
  }

  /** Signs a leaf that lives `ttlMs`, though never longer than the authority itself. */
  async issueLeaf(profile: LeafProfile): Promise<IssuedCertificate> {
    const names: x509.JsonGeneralNames = [
      { type: 'url', value: profile.uri },
      ...profile.dnsNames.map((value) => ({ type: 'dns' as const, value })),
      ...(profile.ipAddresses ?? []).map((value) => ({ type: 'ip' as const, value })),
    ];
    const certificate = await x509.X509CertificateGenerator.create({
      ...subjectAndValidity(profile.commonName, this.clock, profile.ttlMs, this.notAfter),
      issuer: this.certificate.subjectName,
      publicKey: profile.publicKeySpki,
      signingKey: this.signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([...profile.usages]),
        new x509.SubjectAlternativeNameExtension(names),
        new x509.AuthorityKeyIdentifierExtension(this.fingerprintSha256),
      ],
    });
    const der = Buffer.from(certificate.rawData);
    const certificatePem = toPem('CERTIFICATE', der);
    return {
      certificatePem,
      chainPem: certificatePem + this.chainPem,
      fingerprintSha256: sha256Hex(der),
      serial: certificate.serialNumber.toLowerCase(),
      issuerFingerprintSha256: this.fingerprintSha256,
      notBefore: certificate.notBefore,
      notAfter: certificate.notAfter,
    };
  }
}

function authorityExtensions(pathLength: number, uriHost: string): x509.Extension[] {
  return [
    new x509.BasicConstraintsExtension(true, pathLength, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${uriHost}` }]),
  ];
}

function subjectAndValidity(name: string, clock: Clock, ttlMs: number, notAfterMax?: Date) {
  const nowMs = wholeSeconds(clock.now().getTime());
  const notAfterMs = Math.min(nowMs + ttlMs, notAfterMax?.getTime() ?? Infinity);
  // Positive, and never shortened by a leading zero byte.
  const serial = randomBytes(SERIAL_SIZE_BYTES);
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  return {
    subject: commonName(name),
    serialNumber: serial.toString('hex'),
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(notAfterMs),
  };
}

function commonName(text: string): x509.JsonName {
  return [{ CN: [text] }];
}

function wholeSeconds(ms: number): number {
  return Math.floor(ms / SECOND_MS) * SECOND_MS;
}

function keysOf(privateKeyPem: Redacted): { publicKey: KeyObject; privateKey: KeyObject } {
  const privateKey = createPrivateKey(privateKeyPem.reveal());
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

function spkiOf(publicKey: KeyObject): Buffer<ArrayBuffer> {
  return publicKey.export({ type: 'spki', format: 'der' }) as Buffer<ArrayBuffer>;
}

function signingKeyOf(privateKey: KeyObject): webcrypto.CryptoKey {
  return privateKey.toCryptoKey(ECDSA_P256, false, ['sign']);
}

function uriHostOf(certificate: x509.X509Certificate): string {
  const names = certificate.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
  const uri = names.find((name) => name.type === 'url')?.value;
  assert(uri !== undefined && uri.startsWith('spiffe://'), 'an authority carries its own URI name');
  return uri.slice('spiffe://'.length);
}

export const ROOT_TTL_MS = 20 * 365 * DAY_MS;
export const INTERMEDIATE_TTL_MS = 5 * 365 * DAY_MS;
