import type { Logger } from '#libs/kernel';
import type { RenewalAnswer, RenewalRequest } from '#libs/contracts/wire';
import { parseCertificateRequest } from '#libs/pki';
import { PlatformUnitOfWork, type PlatformTx, type Tx } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { refusals } from '../domain/errors.js';
import { refOfPeer, type Peer } from '../domain/peer.js';
import { decideRenewal, renewAfter } from '../domain/renewal.js';
import { lockIdentity, replaceCertificate, shutOut } from '../tables/identities.js';
import { IdentityTransactions } from '../tables/identity-transactions.js';
import { runningReceiverUrls } from '../tables/receivers.js';
import { ProviderIdentity } from './provider-identity.js';

/** A certificate before its end against the next one, for a new key of the same identity. */
export class RenewIdentity {
  constructor(
    private readonly identities: IdentityTransactions,
    private readonly platform: PlatformUnitOfWork,
    private readonly provider: ProviderIdentity,
    private readonly audit: AuditLog,
    private readonly logger: Logger,
  ) {}

  /**
   * A renewal that the generation counter contradicts locks the identity, and that stands although the request fails:
   * `identity.generation-mismatch`. Also throws `certificate-request.*`.
   */
  async execute(peer: Peer, request: RenewalRequest): Promise<RenewalAnswer> {
    const { publicKeySpki } = await parseCertificateRequest(request.certificateRequest);
    const root = await this.provider.root();
    const receiverUrls = await this.platform.run(runningReceiverUrls);
    const renewed = await this.identities.run(refOfPeer(peer), (tx) => this.renew(tx, peer, request.generation, publicKeySpki));
    if (renewed === undefined) throw refusals.generationMismatch();
    return { ...renewed, providerRoots: root.certificatePem, receiverUrls };
  }

  private async renew(
    tx: Tx | PlatformTx,
    peer: Peer,
    generation: number,
    publicKeySpki: Buffer,
  ): Promise<Omit<RenewalAnswer, 'providerRoots' | 'receiverUrls'> | undefined> {
    const ref = refOfPeer(peer);
    const row = await lockIdentity(tx, ref);
    if (row === undefined) throw refusals.unknownIdentity();
    if (row.state !== 'active') throw row.state === 'locked' ? refusals.locked() : refusals.revoked();
    const state = {
      generation: row.generation,
      certificateSha256: row.certificate_sha256,
      previousSha256: row.previous_certificate_sha256,
    };
    const decision = decideRenewal(state, { sha256: peer.fingerprint, generation });
    if (decision.kind === 'lock') {
      await shutOut(tx, ref, row, 'locked', 'generation-mismatch');
      await this.audit.append(tx, {
        actor: { kind: ref.role, id: ref.id, name: row.fqdn },
        action: `${ref.role}.locked`,
        subject: { kind: ref.role, id: ref.id },
        outcome: 'refused',
        details: { code: 'identity.generation-mismatch', presented: generation, stored: row.generation },
      });
      this.logger.error(
        { role: ref.role, identityId: ref.id, tenantId: ref.tenantId },
        'an identity was renewed from two places and is locked',
      );
      return undefined;
    }
    // A repeated renewal may bring the key of the answer that was lost; a first one brings a new key.
    const isRepeated = decision.generation === row.generation;
    if (!isRepeated && publicKeySpki.equals(row.signing_key)) throw refusals.keyReused();
    const certificate = await this.provider.issue(tx, ref, publicKeySpki, row.fqdn);
    await replaceCertificate(tx, ref, {
      certificate,
      signingKey: publicKeySpki,
      generation: decision.generation,
      keepSha256: decision.keepSha256,
    });
    return {
      certificateChain: certificate.chainPem,
      generation: decision.generation,
      renewAfter: renewAfter(certificate.notBefore, certificate.notAfter, Math.random()).toISOString(),
    };
  }
}
