import { createPrivateKey } from 'node:crypto';
import { Clock, newId, SystemClock, type AgentId, type TenantId } from '#libs/kernel';
import type { AuthorityMaterial } from './certificate-authority.js';
import { sha256Hex } from './fingerprint.js';
import { generateSigningKey, type PrivateKey } from './identity-keys.js';
import { toPem } from './pem.js';
import { ProviderRoot } from './provider-root.js';
import type { TenantAuthority } from './tenant-authority.js';
import { workloadUri } from './workload-name.js';
import * as x509 from './x509.js';

export const PROVIDER_DOMAIN = 'dr.example';

/** A clock that stands still. */
export class StoppedClock extends Clock {
  constructor(private readonly time: Date) {
    super();
  }
  now(): Date {
    return this.time;
  }
  monotonicMs(): number {
    return 0;
  }
  async sleep(): Promise<void> {}
}

/** A provider with one tenant and one agent's key: what most tests begin with. */
export interface Estate {
  readonly root: ProviderRoot;
  readonly tenant: TenantAuthority;
  readonly tenantId: TenantId;
  readonly agentId: AgentId;
  readonly agentUri: string;
  readonly agentKey: PrivateKey;
}

export async function createEstate(clock: Clock = new SystemClock()): Promise<Estate> {
  const root = await ProviderRoot.create({ providerDomain: PROVIDER_DOMAIN, clock });
  const tenantId = newId<TenantId>();
  const agentId = newId<AgentId>();
  const [tenant, agentKey] = await Promise.all([root.createTenantAuthority(tenantId), generateSigningKey()]);
  return { root, tenant, tenantId, agentId, agentKey, agentUri: workloadUri(PROVIDER_DOMAIN, { role: 'agent', tenantId, id: agentId }) };
}

export interface ForgedProfile {
  readonly names?: x509.JsonGeneralNames;
  readonly usages?: readonly string[];
  readonly commonName?: string;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly isAuthority?: boolean;
  /** Hex; null for none; the issuer's own unless given. */
  readonly authorityKeyId?: string | null;
  readonly extraExtensions?: readonly x509.Extension[];
}

export const BOTH_USAGES = [x509.ExtendedKeyUsage.clientAuth, x509.ExtendedKeyUsage.serverAuth];

/** Signs with an authority's (or any) key what no authority of ours would sign. Returns the certificate's PEM. */
export async function forgeCertificate(issuer: AuthorityMaterial, subject: PrivateKey, profile: ForgedProfile): Promise<string> {
  const issuerCertificate = new x509.X509Certificate(issuer.certificatePem);
  const { names = [], usages = BOTH_USAGES, commonName = 'forged', isAuthority = false } = profile;
  const issuerKeyId = sha256Hex(Buffer.from(issuerCertificate.publicKey.rawData));
  const authorityKeyId = profile.authorityKeyId === undefined ? issuerKeyId : profile.authorityKeyId;
  const nowMs = new SystemClock().now().getTime();
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [commonName] }],
    issuer: issuerCertificate.subjectName,
    serialNumber: '4242424242424242',
    notBefore: profile.notBefore ?? new Date(nowMs - 60_000),
    notAfter: profile.notAfter ?? new Date(nowMs + 3_600_000),
    publicKey: subject.publicKeySpki as Buffer<ArrayBuffer>,
    signingKey: createPrivateKey(issuer.privateKeyPem.reveal()).toCryptoKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']),
    extensions: [
      new x509.BasicConstraintsExtension(isAuthority, undefined, true),
      new x509.KeyUsagesExtension(isAuthority ? x509.KeyUsageFlags.keyCertSign : x509.KeyUsageFlags.digitalSignature, true),
      ...(usages.length > 0 ? [new x509.ExtendedKeyUsageExtension([...usages])] : []),
      ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
      ...(authorityKeyId === null ? [] : [new x509.AuthorityKeyIdentifierExtension(authorityKeyId)]),
      ...(profile.extraExtensions ?? []),
    ],
  });
  return toPem('CERTIFICATE', Buffer.from(certificate.rawData));
}
