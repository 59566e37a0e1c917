import { createPublicKey, verify, X509Certificate } from 'node:crypto';
import { CodedError, idToBytes, type ReplicaNodeId } from '#libs/kernel';
import { sha256Hex } from './fingerprint.js';
import { NODES_LABEL } from './workload-name.js';

/** What the replica nodes' authority signs when a node enrols: that this unwrapping key is this node's. */
export function attestationOf(replicaNodeId: ReplicaNodeId, unwrappingKeySpki: Uint8Array): Buffer {
  return Buffer.concat([
    Buffer.from('holdfast replica node key\0', 'ascii'),
    idToBytes(replicaNodeId),
    Buffer.from(sha256Hex(unwrappingKeySpki), 'hex'),
  ]);
}

export interface AttestedKey {
  readonly replicaNodeId: ReplicaNodeId;
  readonly unwrappingKeySpki: Uint8Array;
  readonly attestation: Uint8Array;
}

/**
 * Judges whether keys belong to nodes of the provider whose root hashes to `rootSha256`: whoever only writes to its database cannot put a key of
 * their own in a node's place. `authorityPem`: the nodes' authority, then the root. Throws `provider-root.pin-mismatch`, `certificate.untrusted`.
 */
export function attestationVerifier(authorityPem: string, rootSha256: string): (key: AttestedKey) => boolean {
  const [authority, root] = (authorityPem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map(
    (pem) => new X509Certificate(pem),
  );
  if (root === undefined || sha256Hex(root.raw) !== rootSha256)
    throw new CodedError('provider-root.pin-mismatch', 'unauthenticated', 'this is not the provider whose root is pinned');
  const isForNodes = authority!.subjectAltName?.startsWith(`URI:spiffe://${NODES_LABEL}.`) === true;
  if (!authority!.ca || !isForNodes || !authority!.verify(root.publicKey) || !root.verify(root.publicKey))
    throw new CodedError('certificate.untrusted', 'unauthenticated', "the authority of the replica nodes is not the provider's");
  const publicKey = createPublicKey(authority!.publicKey.export({ type: 'spki', format: 'pem' }));
  return ({ replicaNodeId, unwrappingKeySpki, attestation }) =>
    verify('sha256', attestationOf(replicaNodeId, unwrappingKeySpki), { key: publicKey, dsaEncoding: 'ieee-p1363' }, attestation);
}
