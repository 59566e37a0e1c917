import type { FailoverId, ReplicaNodeId, TenantId } from '#libs/kernel';
import { type PlatformTx, PlatformUnitOfWork } from '#libs/platform';
import { type Candidate, placeReplica } from '../domain/place-replica.js';
import { findOwner, insertOwnership, isOwnerRevoked, releaseOwnership } from '../tables/ownerships.js';
import { listCandidates } from '../tables/replica-nodes.js';

/** Any constant will do that is the same in every process: placements are decided one at a time. */
const PLACEMENT_LOCK = 4_104_400;

export interface Placement {
  readonly replicaNodeId: ReplicaNodeId;
}

/** Decides and knows which replica node owns a replica. The row is the truth; events find the owner through it. */
export class Broker {
  constructor(private readonly unitOfWork: PlatformUnitOfWork) {}

  /**
   * Chooses a node, of these where only these may read the point, and makes it the owner; a repeat finds the same one. Throws `cluster.no-node`,
   * `cluster.no-capacity`.
   */
  place(
    tenantId: TenantId,
    failoverId: FailoverId,
    memoryMiB: number,
    among: 'any' | readonly ReplicaNodeId[] = 'any',
  ): Promise<Placement> {
    return this.unitOfWork.run(async (tx) => {
      await tx.execute(`select pg_advisory_xact_lock($1)`, [PLACEMENT_LOCK]);
      const owner = await findOwner(tx, failoverId);
      if (owner !== undefined) return { replicaNodeId: owner.replica_node_id };
      const node = placeReplica(await this.candidates(tx, among), memoryMiB);
      await insertOwnership(tx, { tenantId, failoverId, replicaNodeId: node.id, memoryMiB });
      return { replicaNodeId: node.id };
    });
  }

  /** The replica runs nowhere any more. */
  release(failoverId: FailoverId): Promise<void> {
    return this.unitOfWork.run((tx) => releaseOwnership(tx, failoverId));
  }

  /** Whether the owner was revoked: it will never say that its replica stopped, and need not. */
  hasLostOwner(failoverId: FailoverId): Promise<boolean> {
    return this.unitOfWork.run((tx) => isOwnerRevoked(tx, failoverId));
  }

  /** Any connected node, for work that owns nothing, such as an export. Throws `cluster.no-node`. */
  anyNode(among: 'any' | readonly ReplicaNodeId[] = 'any'): Promise<Placement> {
    return this.unitOfWork.run(async (tx) => ({ replicaNodeId: placeReplica(await this.candidates(tx, among), 0).id }));
  }

  private async candidates(tx: PlatformTx, among: 'any' | readonly ReplicaNodeId[]): Promise<Candidate[]> {
    const candidates = await listCandidates(tx);
    return among === 'any' ? candidates : candidates.filter(({ id }) => among.includes(id));
  }
}
