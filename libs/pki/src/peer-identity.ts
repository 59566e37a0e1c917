import { CodedError, type AgentId, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import { isCanonicalDnsName } from './dns-name.js';
import { sha256Hex } from './fingerprint.js';
import { DNS_NAMES_MAX } from './leaf-rules.js';
import { parseWorkloadUri } from './workload-name.js';
import * as x509 from './x509.js';

interface PeerCertificate {
  readonly dnsNames: readonly string[];
  /** SHA-256 of the leaf's DER, lower-case hex. */
  readonly fingerprintSha256: string;
  /** Lower-case hex. */
  readonly serial: string;
  /**
   * Fingerprint of the authority that signed the leaf: SHA-256 of its public key. The leaf carries it as authority key identifier, and TLS has matched it with
   * the authority's own. The caller checks that it is among the active authorities of the tenant (or of the replica nodes).
   */
  readonly issuerFingerprintSha256: string;
  readonly notAfter: Date;
}

export type AgentIdentity = PeerCertificate & { readonly role: 'agent'; readonly tenantId: TenantId; readonly id: AgentId };
export type ReplicaNodeIdentity = PeerCertificate & { readonly role: 'replica-node'; readonly tenantId: null; readonly id: ReplicaNodeId };

/** Who is at the other end of a connection, as its certificate says. Necessary, not sufficient: issuer, row and denylist are still to be checked. */
export type PeerIdentity = AgentIdentity | ReplicaNodeIdentity;

const CERTIFICATE_SIZE_MAX_BYTES = 16 * 1024;

/**
 * Reads an identity from a leaf's DER, structurally: never from a printed form, never from the common name. That the leaf is signed and its chain
 * leads to a trusted root is TLS's part. The chain itself is not asked for: some releases of Node.js (24.21.0, 26.8.0; nodejs/node#65579) show a server
 * nothing above the leaf.
 *
 * Throws (`unauthenticated`) `certificate.malformed`, `.no-uri-name`, `.many-uri-names`, `.not-canonical`, `.foreign-provider`, `.not-a-workload`,
 * `.no-client-auth`, `.no-dns-name`, `.too-many-dns-names`, `.no-issuer-key`.
 */
export function readPeerIdentity(leafDer: Uint8Array, providerDomain: string): PeerIdentity {
  const leaf = readLeaf(leafDer);
  const workload = parseWorkloadUri(leaf.uri);
  if (workload === null) {
    const isMiscased = parseWorkloadUri(leaf.uri.toLowerCase()) !== null;
    throw isMiscased
      ? refused('not-canonical', 'a certificate name is not in lower case')
      : refused('not-a-workload', 'a certificate names no agent or replica node');
  }
  if (workload.providerDomain !== providerDomain) throw refused('foreign-provider', 'a certificate belongs to another provider');
  if (workload.name.role === 'service') throw refused('not-a-workload', 'a certificate names no agent or replica node');
  if (!leaf.hasClientAuth) throw refused('no-client-auth', 'a certificate is not for client authentication');
  if (leaf.dnsNames.length === 0) throw refused('no-dns-name', 'a certificate names no host');
  if (leaf.dnsNames.length > DNS_NAMES_MAX) throw refused('too-many-dns-names', 'a certificate names too many hosts');
  if (!leaf.dnsNames.every(isCanonicalDnsName)) throw refused('not-canonical', 'a host name of a certificate is not in canonical form');
  if (!/^[0-9a-f]{64}$/.test(leaf.issuerKeyId)) throw refused('no-issuer-key', 'a certificate does not name the key that signed it');
  return {
    ...workload.name,
    dnsNames: leaf.dnsNames,
    fingerprintSha256: sha256Hex(leafDer),
    serial: leaf.serial,
    issuerFingerprintSha256: leaf.issuerKeyId,
    notAfter: leaf.notAfter,
  };
}

interface Leaf {
  readonly uri: string;
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly hasClientAuth: boolean;
  readonly hasServerAuth: boolean;
  /** Lower-case hex; empty where there is none. */
  readonly issuerKeyId: string;
  readonly serial: string;
  readonly notAfter: Date;
}

/** The names and usages of a leaf with exactly one URI name. Throws `certificate.malformed`, `.no-uri-name`, `.many-uri-names`. */
export function readLeaf(der: Uint8Array): Leaf {
  if (der.length > CERTIFICATE_SIZE_MAX_BYTES) throw refused('malformed', 'a certificate is too large');
  let names: readonly x509.GeneralName[];
  let usages: readonly string[];
  let issuerKeyId: string;
  let serial: string;
  let notAfter: Date;
  try {
    const certificate = new x509.X509Certificate(Buffer.from(der) as Buffer<ArrayBuffer>);
    names = onlyOne(certificate.getExtensions(x509.SubjectAlternativeNameExtension))?.names.items ?? [];
    usages = onlyOne(certificate.getExtensions(x509.ExtendedKeyUsageExtension))?.usages.map(String) ?? [];
    issuerKeyId = onlyOne(certificate.getExtensions(x509.AuthorityKeyIdentifierExtension))?.keyId?.toLowerCase() ?? '';
    serial = certificate.serialNumber.toLowerCase();
    notAfter = certificate.notAfter;
  } catch (error) {
    throw refused('malformed', 'a certificate cannot be read', error);
  }
  const valuesOf = (type: x509.GeneralNameType): string[] => names.filter((name) => name.type === type).map((name) => name.value);
  const uris = valuesOf('url');
  if (uris.length === 0) throw refused('no-uri-name', 'a certificate has no URI name');
  if (uris.length > 1) throw refused('many-uri-names', 'a certificate has more than one URI name');
  return {
    uri: uris[0]!,
    dnsNames: valuesOf('dns'),
    ipAddresses: valuesOf('ip'),
    hasClientAuth: usages.includes(x509.ExtendedKeyUsage.clientAuth),
    hasServerAuth: usages.includes(x509.ExtendedKeyUsage.serverAuth),
    issuerKeyId,
    serial,
    notAfter,
  };
}

/** RFC 5280 forbids an extension twice; of two, one reader would take the first and another the last. */
function onlyOne<T>(extensions: readonly T[]): T | undefined {
  if (extensions.length > 1) throw new Error('an extension occurs twice');
  return extensions[0];
}

function refused(code: string, message: string, cause?: unknown): CodedError {
  return new CodedError(`certificate.${code}`, 'unauthenticated', message, {}, cause);
}
