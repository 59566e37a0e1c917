import type { AgentPeer } from '#libs/agents';
import type { CycleAnswer, CycleMeasures, CycleStatus } from '#libs/contracts/wire';
import { asId, type ChainId, CodedError } from '#libs/kernel';
import { UnitOfWork } from '#libs/platform';
import { canApply } from '../domain/replication-state.js';
import { getChain } from '../tables/chains.js';
import { requireOpen } from '../tables/catalogue-protocol.js';
import { endCycle, getCycle, renewLease, segmentsOf, setMeasures } from '../tables/cycles.js';
import { cycleOf } from '../tables/manifest-ref.js';
import { CYCLE_LEASE_MS } from '../tables/postgres-replica-catalogue.js';
import { applyEvent, findRelationshipOfChain } from '../tables/relationships.js';
import { requireOwnCycle } from './cycle-uploads.js';
import { toCycleAnswer, toSegmentInterval } from './cycle-views.js';
import { writerOf } from './peer-gate.js';

/** What an agent asks and tells of a cycle under way. */
export class CycleProgress {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  /** State, lease, and what is durable already: enough to resume while the snapshot still exists. */
  status(peer: AgentPeer, cycleId: string): Promise<CycleStatus> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const row = await requireOwnCycle(tx, peer, cycleId);
      const segments = (await segmentsOf(tx, row.id)).map(toSegmentInterval);
      return { ...toCycleAnswer(row, row.relationshipId), segments, manifestSha256: row.manifest_sha256 };
    });
  }

  /** The lease begins anew; one that ended is given again while nothing else took over. */
  renew(peer: AgentPeer, cycleId: string): Promise<CycleAnswer> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const row = await requireOwnCycle(tx, peer, cycleId);
      await requireOpen(tx, { tenantId: peer.tenantId, cycle: cycleOf(row.cycle), writer: writerOf(peer) }, { lease: 'may-have-ended' });
      const lease_expires_at = await renewLease(tx, row.id, CYCLE_LEASE_MS);
      return toCycleAnswer({ ...row, lease_expires_at }, row.relationshipId);
    });
  }

  measures(peer: AgentPeer, cycleId: string, measures: CycleMeasures): Promise<void> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const row = await requireOwnCycle(tx, peer, cycleId);
      await setMeasures(tx, row.id, measures);
    });
  }

  /** The agent gives the attempt up. What cannot mend itself stops replication until a person resumes it. */
  fail(peer: AgentPeer, cycleId: string, failure: { readonly code: string; readonly message: string }): Promise<void> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const { chain_id: chain } = await requireOwnCycle(tx, peer, cycleId);
      const chainId = asId<ChainId>(chain);
      // Locks in the order of a commit, and the cycle is read after: of a commit and a failure on their way at once, one decides.
      const relationship = await findRelationshipOfChain(tx, chainId, { lock: true });
      await getChain(tx, chainId, { lock: true });
      const row = await getCycle(tx, cycleId);
      if (row.state === 'committed') throw new CodedError('cycle.committed', 'conflict', 'this cycle is committed');
      if (row.state !== 'open') return;
      await endCycle(tx, row.id, 'failed', failure);
      if (relationship === undefined) return;
      const stops = isLasting(failure.code) && canApply(relationship.state, 'failed');
      await applyEvent(tx, relationship, stops ? 'failed' : null, { failure });
    });
  }
}

/** Hyper-V's rule: authentication, authorization and a broken chain are not tried again. */
function isLasting(code: string): boolean {
  return /^(authorization|identity|certificate|chain|manifest)\./.test(code) && !MENDS_ITSELF.has(code);
}

/** A receiver that catches up, and a renewal in the middle of a cycle. */
const MENDS_ITSELF: ReadonlySet<string> = new Set(['identity.standing-uncertain', 'identity.certificate-superseded']);
