import { newId, type AgentId, type ReplicaNodeId } from '#libs/kernel';
import type { EnrolmentAnswer, EnrolmentRequest } from '#libs/contracts/wire';
import {
  canonicalDnsName,
  hashTokenSecret,
  matchesAllowedServer,
  parseCertificateRequest,
  parseEnrolmentToken,
  parseWrappingKey,
} from '#libs/pki';
import { PlatformUnitOfWork, Secrets, UnitOfWork, type PlatformTx, type Tx } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { refusals } from '../domain/errors.js';
import { renewAfter } from '../domain/renewal.js';
import { activeTenantKey } from '../tables/authorities.js';
import type { IdentityRef } from '../domain/peer.js';
import { insertIdentity, type NewIdentity } from '../tables/identities.js';
import { runningReceiverUrls } from '../tables/receivers.js';
import { findTokenOwner, spendToken } from '../tables/tokens.js';
import { ProviderIdentity } from './provider-identity.js';

/** What a host offers, checked. */
type Offer = Pick<NewIdentity, 'fqdn' | 'signingKey' | 'unwrappingKey' | 'version'> & {
  readonly tokenId: string;
  readonly secretHmac: string;
};

/**
 * A one-time token and a certificate request against an identity. The token is spent, the identity made and its certificate
 * signed in one transaction: of any number of redeemers one gets a certificate; if anything fails, the token is as it was.
 */
export class EnrolIdentity {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly platform: PlatformUnitOfWork,
    private readonly provider: ProviderIdentity,
    private readonly secrets: Secrets,
    private readonly audit: AuditLog,
  ) {}

  /**
   * Throws `enrolment-token.malformed`, `enrolment.token-not-accepted`, `certificate-request.*`, `wrapping-key.*`,
   * `enrolment.host-not-allowed`, `receiver.none`.
   */
  async execute(request: EnrolmentRequest): Promise<EnrolmentAnswer> {
    const token = parseEnrolmentToken(request.token);
    const tenantId = await this.platform.run((tx) => findTokenOwner(tx, token.tokenId));
    if (tenantId === undefined) throw refusals.tokenNotAccepted();
    const offer: Offer = {
      tokenId: token.tokenId,
      secretHmac: hashTokenSecret(this.secrets.pepper, token.secret),
      fqdn: canonicalDnsName(request.fqdn),
      signingKey: (await parseCertificateRequest(request.certificateRequest)).publicKeySpki,
      unwrappingKey: parseWrappingKey(Buffer.from(request.unwrappingKey, 'base64')).export({ type: 'spki', format: 'der' }),
      version: request.version,
    };
    const root = await this.provider.root();
    const receiverUrls = await this.platform.run(runningReceiverUrls);
    if (receiverUrls.length === 0) throw refusals.noReceiver();
    const identity =
      tenantId === null
        ? await this.platform.run((tx) => this.enrol(tx, { role: 'replica-node', tenantId, id: newId<ReplicaNodeId>() }, offer))
        : await this.unitOfWork.run(tenantId, (tx) => this.enrol(tx, { role: 'agent', tenantId, id: newId<AgentId>() }, offer));
    return { ...identity, providerRoots: root.certificatePem, receiverUrls };
  }

  private async enrol(
    tx: Tx | PlatformTx,
    ref: IdentityRef,
    offer: Offer,
  ): Promise<Omit<EnrolmentAnswer, 'providerRoots' | 'receiverUrls'>> {
    const token = await spendToken(tx, offer.tokenId, offer.secretHmac, ref.id);
    if (token === undefined) throw refusals.tokenNotAccepted();
    const allowed = { kind: token.fqdn_kind, name: token.fqdn_name, depth: 'any' } as const;
    if (!matchesAllowedServer(allowed, offer.fqdn)) throw refusals.hostNotAllowed(offer.fqdn);
    const tag = 'tag' in token ? token.tag : null;
    const certificate = await this.provider.issue(tx, ref, offer.signingKey, offer.fqdn);
    const attestation =
      ref.role === 'replica-node' ? (await this.provider.nodes()).attestUnwrappingKey(ref.id as ReplicaNodeId, offer.unwrappingKey) : null;
    await insertIdentity(tx, ref, { ...offer, certificate, attestation }, tag);
    const tenantKey = tx.kind === 'tenant' ? (await activeTenantKey(tx)).public_key.toString('base64') : null;
    await this.audit.append(tx, {
      actor: { kind: ref.role, id: ref.id, name: offer.fqdn },
      action: `${ref.role}.enrolled`,
      subject: { kind: ref.role, id: ref.id },
      details: { tokenId: offer.tokenId, certificateSha256: certificate.fingerprintSha256, tag },
    });
    return {
      role: ref.role,
      identityId: ref.id,
      tenantId: ref.tenantId,
      tag,
      certificateChain: certificate.chainPem,
      tenantKey,
      renewAfter: renewAfter(certificate.notBefore, certificate.notAfter, Math.random()).toISOString(),
    };
  }
}
