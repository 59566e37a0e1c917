import { asId, CodedError, type Clock, type TenantId } from '#libs/kernel';
import type { PeerIdentity, PeerRegistry } from '#libs/pki';
import type { AnyTx, PlatformUnitOfWork } from '#libs/platform';
import { refusals } from '../domain/errors.js';
import { judgeStanding, type IdentityRef, type Peer } from '../domain/peer.js';
import { forgetPreviousCertificate, readStanding, type StandingRow } from '../tables/identities.js';
import type { IdentityTransactions } from '../tables/identity-transactions.js';
import { identityChanges } from '../tables/receivers.js';

interface Entry {
  readonly identity: PeerIdentity;
  readonly verdict: Peer | CodedError;
}

const ENTRIES_MAX = 20_000;
/** Without news of revocations for longer than this, a receiver is not ready. */
const SILENCE_MAX_MS = 60_000;

/**
 * A receiver's memory of who its peers are. A peer is looked up when its certificate is first seen and then remembered until
 * the database tells of a change: by notification at once, by the poll of {@link refresh} at the latest. The connections of
 * those who lost their standing are cut, uploads in progress too.
 *
 * While the database is away peers are recognised from memory, so that their connections live on; but
 * {@link assertCertain} fails after a minute. Commits ask the database itself, in their own transaction.
 */
export class PeerDirectory {
  private readonly entries = new Map<string, Entry>();
  /** Whose standing changed and who were not judged again yet: their connections may have to be cut. */
  private readonly suspects = new Map<string, PeerIdentity>();
  private horizon = 0;
  /** Counts the refreshes that found a change: a lookup that one overtook is not remembered. */
  private changes = 0;
  private certainSinceMs = -Infinity;

  constructor(
    private readonly identities: IdentityTransactions,
    private readonly platform: PlatformUnitOfWork,
    private readonly registry: PeerRegistry,
    private readonly clock: Clock,
  ) {}

  /** Who this is, or why they are not admitted. A `superseded` certificate passes here; only the renewal route takes it. */
  async admit(identity: PeerIdentity): Promise<Peer> {
    if (identity.notAfter.getTime() <= this.clock.now().getTime()) throw refusals.expired();
    const { verdict } = this.entries.get(identity.fingerprintSha256) ?? (await this.lookUp(identity));
    if (verdict instanceof CodedError) throw verdict;
    return verdict;
  }

  /** Throws `identity.standing-uncertain` when revocations may have been missed. */
  assertCertain(): void {
    if (this.clock.monotonicMs() - this.certainSinceMs > SILENCE_MAX_MS) throw refusals.standingUncertain();
  }

  /**
   * Asks what changed since the last time. The first time it only takes its bearings, so call it before the first
   * {@link admit}; then on each notification and every few seconds.
   */
  async refresh(): Promise<void> {
    const askedAtMs = this.clock.monotonicMs();
    const { subjectIds, horizon } = await this.platform.run((tx) => identityChanges(tx, this.horizon));
    if (subjectIds.length > 0) this.forget(new Set(subjectIds));
    this.horizon = horizon;
    await this.cutOff();
    this.certainSinceMs = askedAtMs;
  }

  private forget(changed: ReadonlySet<string>): void {
    this.changes += 1;
    for (const [fingerprint, { identity }] of this.entries) {
      if (!changed.has(identity.id) && !changed.has(identity.tenantId ?? '')) continue;
      this.entries.delete(fingerprint);
      this.suspects.set(fingerprint, identity);
    }
  }

  /** Where the database goes away in the middle, the rest stay suspects until the next refresh. */
  private async cutOff(): Promise<void> {
    for (const [fingerprint, identity] of this.suspects) {
      const { verdict } = await this.lookUp(identity);
      this.suspects.delete(fingerprint);
      if (verdict instanceof CodedError) this.registry.destroy((peer) => peer.fingerprintSha256 === fingerprint);
    }
  }

  private async lookUp(identity: PeerIdentity): Promise<Entry> {
    const changes = this.changes;
    const ref = refOf(identity);
    const work = async (tx: AnyTx): Promise<Peer | CodedError> => {
      const standing = await readStanding(tx, ref, identity.fingerprintSha256, identity.issuerFingerprintSha256);
      const judged = judgeStanding(standing, identity.fingerprintSha256);
      if (judged instanceof CodedError) return judged;
      if (judged === 'current' && standing!.previousSha256 !== null) await forgetPreviousCertificate(tx, ref, identity.fingerprintSha256);
      return peerOf(identity, standing!, judged);
    };
    const verdict = await this.identities.run(ref, work);
    const entry = { identity, verdict };
    if (changes === this.changes) this.remember(entry);
    return entry;
  }

  private remember(entry: Entry): void {
    const { fingerprintSha256 } = entry.identity;
    this.entries.delete(fingerprintSha256);
    this.entries.set(fingerprintSha256, entry);
    if (this.entries.size <= ENTRIES_MAX) return;
    const [oldest] = this.entries.keys();
    this.entries.delete(oldest!);
  }
}

/** The tenant is the one that the certificate's URI name says; its issuer and row are looked for in that tenant alone. */
export function refOf(identity: PeerIdentity): IdentityRef {
  if (identity.role === 'agent') return { role: 'agent', tenantId: asId<TenantId>(identity.tenantId), id: identity.id };
  return { role: 'replica-node', tenantId: null, id: identity.id };
}

function peerOf(identity: PeerIdentity, standing: StandingRow, certificate: Peer['certificate']): Peer {
  const common = {
    dnsNames: identity.dnsNames,
    fingerprint: identity.fingerprintSha256,
    notAfter: identity.notAfter,
    certificate,
    unwrappingKey: standing.unwrappingKey,
  };
  return identity.role === 'agent'
    ? { ...common, role: 'agent', tenantId: identity.tenantId, identityId: identity.id, tag: standing.tag! }
    : { ...common, role: 'replica-node', tenantId: null, identityId: identity.id };
}
