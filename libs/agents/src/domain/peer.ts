import type { AgentId, CodedError, ReplicaNodeId, TenantId } from '#libs/kernel';
import { refusals } from './errors.js';

interface PeerCommon {
  /** From the certificate that was presented: canonical, at least one. */
  readonly dnsNames: readonly string[];
  /** SHA-256 of the certificate, lower-case hex. */
  readonly fingerprint: string;
  readonly notAfter: Date;
  /** `previous`: the certificate before, whose successor was not used yet. `superseded` reaches the renewal route alone. */
  readonly certificate: 'current' | 'previous' | 'superseded';
  /** SubjectPublicKeyInfo that grants wrap data keys to. */
  readonly unwrappingKey: Buffer;
}

export type AgentPeer = PeerCommon & {
  readonly role: 'agent';
  readonly tenantId: TenantId;
  readonly identityId: AgentId;
  readonly tag: string;
};
export type ReplicaNodePeer = PeerCommon & { readonly role: 'replica-node'; readonly tenantId: null; readonly identityId: ReplicaNodeId };

/** Who sent a request to a receiver, after certificate, issuer, row and denylist were all checked. */
export type Peer = AgentPeer | ReplicaNodePeer;

/** Whose identity: an agent's row lies with its tenant, a replica node's with the provider. */
export type IdentityRef =
  | { readonly role: 'agent'; readonly tenantId: TenantId; readonly id: AgentId }
  | { readonly role: 'replica-node'; readonly tenantId: null; readonly id: ReplicaNodeId };

export function refOfPeer(peer: Peer): IdentityRef {
  return peer.role === 'agent'
    ? { role: 'agent', tenantId: peer.tenantId, id: peer.identityId }
    : { role: 'replica-node', tenantId: null, id: peer.identityId };
}

export interface IdentityStanding {
  readonly state: 'active' | 'locked' | 'revoked';
  readonly isIssuerActive: boolean;
  /** Always true for a replica node. */
  readonly isTenantActive: boolean;
  readonly isDenied: boolean;
  readonly currentSha256: string;
  readonly previousSha256: string | null;
}

/** Each of the four checks refuses on its own, whatever the others say. */
export function judgeStanding(standing: IdentityStanding | undefined, fingerprint: string): PeerCommon['certificate'] | CodedError {
  if (standing === undefined) return refusals.unknownIdentity();
  if (!standing.isIssuerActive) return refusals.foreignIssuer();
  if (!standing.isTenantActive) return refusals.tenantSuspended();
  if (standing.state === 'revoked') return refusals.revoked();
  if (standing.state === 'locked') return refusals.locked();
  if (standing.isDenied) return refusals.denied();
  if (fingerprint === standing.currentSha256) return 'current';
  return fingerprint === standing.previousSha256 ? 'previous' : 'superseded';
}
