import { assert, isUuid, type AgentId, type Clock, type TenantId } from '#libs/kernel';
import { CertificateAuthority, type AuthorityMaterial, type IssuedCertificate } from './certificate-authority.js';
import { parseSigningKey } from './certificate-request.js';
import { WORKLOAD_USAGES, workloadDnsNames, workloadTtlMs } from './leaf-rules.js';
import { workloadUri } from './workload-name.js';

export interface AgentCertificateRequest {
  readonly agentId: AgentId;
  /** From the certificate request; SPKI DER. */
  readonly publicKeySpki: Uint8Array;
  /** The host's names that the enrolment token allows; 1–16. */
  readonly dnsNames: readonly string[];
  /** 24 h unless given; at most 7 days. */
  readonly ttlMs?: number;
}

/** A tenant's intermediate: issues the certificates of its agents and, by its name constraint, of nobody else's. */
export class TenantAuthority {
  readonly tenantId: TenantId;
  readonly providerDomain: string;

  /** Made by the provider root, or by {@link load}. */
  constructor(private readonly authority: CertificateAuthority) {
    const [label = '', ...rest] = authority.uriHost.split('.');
    assert(isUuid(label), 'a tenant authority is named after its tenant');
    this.tenantId = label as TenantId;
    this.providerDomain = rest.join('.');
  }

  /** `rootCertificatePem` completes the chains that are handed out. Throws `certificate-authority.malformed`. */
  static load(material: AuthorityMaterial, rootCertificatePem: string, clock: Clock): TenantAuthority {
    return new TenantAuthority(CertificateAuthority.load(material, rootCertificatePem, clock));
  }

  get certificatePem(): string {
    return this.authority.certificatePem;
  }

  /** Kept among the tenant's active authorities: a peer's `issuerFingerprintSha256` must be one of them. SHA-256 of the public key, lower-case hex. */
  get fingerprintSha256(): string {
    return this.authority.fingerprintSha256;
  }

  get notAfter(): Date {
    return this.authority.notAfter;
  }

  get material(): AuthorityMaterial {
    return this.authority.material;
  }

  /** Throws `certificate-request.unfit-key`, `dns-name.malformed`, `certificate.no-dns-name`, `.too-many-dns-names`, `.lifetime-out-of-range`. */
  async issueAgentCertificate(request: AgentCertificateRequest): Promise<IssuedCertificate> {
    const ttlMs = workloadTtlMs(request.ttlMs);
    return this.authority.issueLeaf({
      commonName: `Holdfast agent ${request.agentId}`,
      publicKeySpki: parseSigningKey(request.publicKeySpki),
      uri: workloadUri(this.providerDomain, { role: 'agent', tenantId: this.tenantId, id: request.agentId }),
      dnsNames: workloadDnsNames(request.dnsNames),
      usages: WORKLOAD_USAGES,
      ttlMs,
    });
  }
}
