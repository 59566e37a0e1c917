import { assert, type Clock, type ReplicaNodeId } from '#libs/kernel';
import { CertificateAuthority, type AuthorityMaterial, type IssuedCertificate } from './certificate-authority.js';
import { parseSigningKey } from './certificate-request.js';
import { WORKLOAD_USAGES, workloadDnsNames, workloadTtlMs } from './leaf-rules.js';
import { signMessage } from './identity-keys.js';
import { attestationOf } from './unwrapping-attestation.js';
import { NODES_LABEL, workloadUri } from './workload-name.js';

export interface ReplicaNodeCertificateRequest {
  readonly replicaNodeId: ReplicaNodeId;
  /** From the certificate request; SPKI DER. */
  readonly publicKeySpki: Uint8Array;
  /** 1–16. */
  readonly dnsNames: readonly string[];
  /** 24 h unless given; at most 7 days. */
  readonly ttlMs?: number;
}

/** The provider's own intermediate for its replica nodes, which belong to no tenant. */
export class ReplicaNodeAuthority {
  readonly providerDomain: string;

  /** Made by the provider root, or by {@link load}. */
  constructor(private readonly authority: CertificateAuthority) {
    const [label, ...rest] = authority.uriHost.split('.');
    assert(label === NODES_LABEL, "the replica nodes' authority has their host");
    this.providerDomain = rest.join('.');
  }

  /** Throws `certificate-authority.malformed`. */
  static load(material: AuthorityMaterial, rootCertificatePem: string, clock: Clock): ReplicaNodeAuthority {
    return new ReplicaNodeAuthority(CertificateAuthority.load(material, rootCertificatePem, clock));
  }

  get certificatePem(): string {
    return this.authority.certificatePem;
  }

  /** Kept among the active authorities: a replica node's `issuerFingerprintSha256` must be one of them. SHA-256 of the public key, lower-case hex. */
  get fingerprintSha256(): string {
    return this.authority.fingerprintSha256;
  }

  get notAfter(): Date {
    return this.authority.notAfter;
  }

  get material(): AuthorityMaterial {
    return this.authority.material;
  }

  /** Signs that an unwrapping key is this node's; a key holder checks it with `attestationVerifier`. 64 bytes. */
  attestUnwrappingKey(replicaNodeId: ReplicaNodeId, unwrappingKeySpki: Uint8Array): Buffer {
    return signMessage(this.authority.material.privateKeyPem, attestationOf(replicaNodeId, unwrappingKeySpki));
  }

  /** Errors as `TenantAuthority.issueAgentCertificate`. */
  async issueReplicaNodeCertificate(request: ReplicaNodeCertificateRequest): Promise<IssuedCertificate> {
    const ttlMs = workloadTtlMs(request.ttlMs);
    return this.authority.issueLeaf({
      commonName: `Holdfast replica node ${request.replicaNodeId}`,
      publicKeySpki: parseSigningKey(request.publicKeySpki),
      uri: workloadUri(this.providerDomain, { role: 'replica-node', tenantId: null, id: request.replicaNodeId }),
      dnsNames: workloadDnsNames(request.dnsNames),
      usages: WORKLOAD_USAGES,
      ttlMs,
    });
  }
}
