import { isIP } from 'node:net';
import { assert, CodedError, DAY_MS, type Clock, type TenantId } from '#libs/kernel';
import {
  CertificateAuthority,
  INTERMEDIATE_TTL_MS,
  ROOT_TTL_MS,
  type AuthorityMaterial,
  type IssuedCertificate,
} from './certificate-authority.js';
import { parseSigningKey } from './certificate-request.js';
import { canonicalDnsName } from './dns-name.js';
import { sha256Hex } from './fingerprint.js';
import { generateSigningKey } from './identity-keys.js';
import { fromPem } from './pem.js';
import { ReplicaNodeAuthority } from './replica-node-authority.js';
import { TenantAuthority } from './tenant-authority.js';
import { NODES_LABEL, tenantHost, workloadUri, type ServiceName } from './workload-name.js';
import { ExtendedKeyUsage } from './x509.js';

export const SERVER_CERTIFICATE_TTL_MS = 90 * DAY_MS;
const PROVIDER_DOMAIN_LENGTH_MAX = 190;

export interface ServerCertificateRequest {
  readonly service: ServiceName;
  /** SPKI DER of an ECDSA P-256 key, as `generateSigningKey` makes. */
  readonly publicKeySpki: Uint8Array;
  /** At least one name or address in all. */
  readonly dnsNames: readonly string[];
  readonly ipAddresses?: readonly string[];
  /** {@link SERVER_CERTIFICATE_TTL_MS} unless given. */
  readonly ttlMs?: number;
}

/** The one trust anchor of a provider. Under it: one intermediate a tenant, one for the replica nodes, and the servers' certificates. */
export class ProviderRoot {
  private constructor(private readonly authority: CertificateAuthority) {}

  /** `providerDomain`: a DNS name of two or more labels, ASCII, for good: every certificate's URI name ends in it. Throws `dns-name.malformed`. */
  static async create(options: { providerDomain: string; clock: Clock; ttlMs?: number }): Promise<ProviderRoot> {
    const providerDomain = canonicalDnsName(options.providerDomain);
    if (!providerDomain.includes('.') || providerDomain.length > PROVIDER_DOMAIN_LENGTH_MAX) {
      throw new CodedError('dns-name.malformed', 'invalid', 'a provider domain has at least two labels and at most 190 characters');
    }
    const authority = await CertificateAuthority.createRoot(await generateSigningKey(), {
      commonName: 'Holdfast provider root',
      uriHost: providerDomain,
      ttlMs: options.ttlMs ?? ROOT_TTL_MS,
      clock: options.clock,
    });
    return new ProviderRoot(authority);
  }

  /** Throws `certificate-authority.malformed`. */
  static load(material: AuthorityMaterial, clock: Clock): ProviderRoot {
    return new ProviderRoot(CertificateAuthority.load(material, '', clock));
  }

  get providerDomain(): string {
    return this.authority.uriHost;
  }

  get certificatePem(): string {
    return this.authority.certificatePem;
  }

  /** SHA-256 of the certificate's DER, lower-case hex: what enrolment tokens pin. */
  get fingerprintSha256(): string {
    return sha256Hex(fromPem('CERTIFICATE', this.certificatePem)[0]!);
  }

  get notAfter(): Date {
    return this.authority.notAfter;
  }

  /** To be kept: seal `privateKeyPem` under the KEK. */
  get material(): AuthorityMaterial {
    return this.authority.material;
  }

  async createTenantAuthority(tenantId: TenantId): Promise<TenantAuthority> {
    const authority = await this.authority.createIntermediate(await generateSigningKey(), {
      commonName: `Holdfast tenant ${tenantId}`,
      uriHost: tenantHost(this.providerDomain, tenantId),
      ttlMs: INTERMEDIATE_TTL_MS,
    });
    return new TenantAuthority(authority);
  }

  async createReplicaNodeAuthority(): Promise<ReplicaNodeAuthority> {
    const authority = await this.authority.createIntermediate(await generateSigningKey(), {
      commonName: 'Holdfast replica nodes',
      uriHost: `${NODES_LABEL}.${this.providerDomain}`,
      ttlMs: INTERMEDIATE_TTL_MS,
    });
    return new ReplicaNodeAuthority(authority);
  }

  /**
   * A TLS server's certificate, serverAuth only. Its URI name lies under a host that no intermediate may issue for, by which clients tell it from an
   * agent's certificate of the same DNS name. Throws `dns-name.malformed`, `certificate-request.unfit-key`.
   */
  async issueServerCertificate(request: ServerCertificateRequest): Promise<IssuedCertificate> {
    const dnsNames = [...new Set(request.dnsNames.map(canonicalDnsName))];
    const ipAddresses = request.ipAddresses ?? [];
    assert(dnsNames.length + ipAddresses.length > 0, 'a server certificate has a name or address');
    assert(
      ipAddresses.every((address) => isIP(address) !== 0),
      'an IP address is an IP address',
    );
    return this.authority.issueLeaf({
      commonName: `Holdfast ${request.service}`,
      publicKeySpki: parseSigningKey(request.publicKeySpki),
      uri: workloadUri(this.providerDomain, { role: 'service', tenantId: null, id: request.service }),
      dnsNames,
      ipAddresses,
      usages: [ExtendedKeyUsage.serverAuth],
      ttlMs: request.ttlMs ?? SERVER_CERTIFICATE_TTL_MS,
    });
  }
}
