import type { Report } from '#libs/contracts/commands';
import { refOfPeer, type Peer } from '../domain/peer.js';
import { noteHeartbeat } from '../tables/identities.js';
import { IdentityTransactions } from '../tables/identity-transactions.js';
import { PeerNews } from './handlers.js';

/** A heartbeat, and what a replica node has to tell beside it. */
export class TakeReport {
  constructor(
    private readonly identities: IdentityTransactions,
    private readonly news: PeerNews,
  ) {}

  async execute(peer: Peer, report: Report): Promise<void> {
    await this.identities.run(refOfPeer(peer), (tx) => noteHeartbeat(tx, refOfPeer(peer), report.version));
    await this.news.tellReport(peer, report);
  }
}
