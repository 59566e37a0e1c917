/**
 * pki: who is who. The provider root, tenants' and replica nodes' intermediates, leaf certificates, certificate requests, peer identities, TLS options,
 * enrolment tokens, host-name rules, tenant keys. Imports kernel alone; knows no database: it makes and judges, others remember.
 *
 * Invariants: a name is read from the one URI name of a certificate, never from its subject, SNI or a header; an intermediate can issue for one host
 * only; no TLS session is resumed; every certificate, request, token or key that does not hold fails with a typed error.
 */
export { compileAllowedServer, matchesAllowedServer, type AllowedServerRule, type WildcardDepth } from './allowed-server.js';
export type { AuthorityMaterial, IssuedCertificate } from './certificate-authority.js';
export { createCertificateRequest, parseCertificateRequest, type CertificateRequest } from './certificate-request.js';
export { clientTlsOptions, fetchPinnedRoot, type ClientTlsOptions } from './client-tls.js';
export { asDisplayName } from './display-name.js';
export { canonicalDnsName, isCanonicalDnsName } from './dns-name.js';
export { createEnrolmentToken, hashTokenSecret, parseEnrolmentToken, type EnrolmentToken } from './enrolment-token.js';
export { FileKeyProvider } from './file-key-provider.js';
export { sha256Hex } from './fingerprint.js';
export {
  generateIdentity,
  generateSigningKey,
  generateUnwrappingKey,
  parseWrappingKey,
  signMessage,
  unwrapWithKey,
  verifyMessage,
  wrapToKey,
  type IdentityKeys,
  type PrivateKey,
} from './identity-keys.js';
export { KeyProvider, keyProviderErrors, type TenantKey } from './key-provider.js';
export { KeyProviders, openKmsKeyProvider } from './key-providers.js';
export type { KmsOptions } from './kms-key-provider.js';
export { WORKLOAD_CERTIFICATE_TTL_MAX_MS, WORKLOAD_CERTIFICATE_TTL_MS } from './leaf-rules.js';
export { readPeerIdentity, type AgentIdentity, type PeerIdentity, type ReplicaNodeIdentity } from './peer-identity.js';
export { CONNECTION_LIMITS, PeerRegistry, type ConnectionLimits } from './peer-registry.js';
export { ProviderRoot, SERVER_CERTIFICATE_TTL_MS, type ServerCertificateRequest } from './provider-root.js';
export {
  attachPeerIdentity,
  peerIdentityOf,
  receiverTlsOptions,
  serverTlsOptions,
  type PeerIdentityOptions,
  type ServerCredentials,
} from './receiver-tls.js';
export { ReplicaNodeAuthority, type ReplicaNodeCertificateRequest } from './replica-node-authority.js';
export { KEK_SIZE_BYTES, openUnderKek, sealUnderKek, type Kek } from './sealed-key.js';
export { TenantAuthority, type AgentCertificateRequest } from './tenant-authority.js';
export type { ServiceName } from './workload-name.js';
export { VaultKeyProvider, type VaultAuth, type VaultOptions } from './vault-key-provider.js';
export { signPossession, verifyPossession } from './tenant-key-possession.js';
export { signSuccession, verifySuccession } from './tenant-key-succession.js';
export { attestationVerifier, type AttestedKey } from './unwrapping-attestation.js';
