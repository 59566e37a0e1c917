import type { AgentPeer } from '#libs/agents';
import type { CycleAnswer, OpenCycleRequest } from '#libs/contracts/wire';
import { asId, type ChainId, CodedError, type RelationshipId } from '#libs/kernel';
import { UnitOfWork } from '#libs/platform';
import type { ReplicationEvent } from '../domain/replication-state.js';
import { openCycle } from '../tables/catalogue-protocol.js';
import { CYCLE_LEASE_MS } from '../tables/postgres-replica-catalogue.js';
import { applyEvent, getRelationship } from '../tables/relationships.js';
import { toCycleAnswer } from './cycle-views.js';
import { PeerGate, writerOf } from './peer-gate.js';

/** Opens a replication cycle on the head; the one that was open before is void from here on. Each call is a new attempt. */
export class OpenCycle {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  execute(peer: AgentPeer, relationshipId: RelationshipId, request: OpenCycleRequest): Promise<CycleAnswer> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const relationship = await getRelationship(tx, relationshipId, { lock: true });
      if (request.tag !== peer.tag)
        throw new CodedError('cycle.wrong-tag', 'forbidden', 'an agent replicates under its own Replication Authorization Tag');
      const gate = new PeerGate(peer);
      const row = await openCycle(
        tx,
        {
          tenantId: peer.tenantId,
          chainId: asId<ChainId>(relationship.chain_id),
          writer: writerOf(peer),
          epoch: request.epoch,
          kind: request.manifestKind,
          parent: request.parent?.sha256 ?? null,
        },
        { kind: request.kind, leaseMs: CYCLE_LEASE_MS, gate },
      );
      const event = eventOf(request);
      if (event !== null) await applyEvent(tx, gate.relationship, event);
      return toCycleAnswer(row, relationship.id);
    });
  }
}

function eventOf({ kind }: OpenCycleRequest): ReplicationEvent | null {
  if (kind === 'initial') return 'initialStarted';
  if (kind === 'resynchronization') return 'resynchronizationStarted';
  return null;
}
