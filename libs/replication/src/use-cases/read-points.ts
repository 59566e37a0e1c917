import type { AgentPeer } from '#libs/agents';
import { cycleToHex, ObjectNames } from '#libs/chain';
import type { PointsQuery, ReplacementsAnswer, ReplacementsRequest, ViewAnswer, WirePoint } from '#libs/contracts/wire';
import { asId, type ChainId, CodedError, HOUR_MS, MINUTE_MS, type RecoveryPointId, type RelationshipId } from '#libs/kernel';
import { type ByteRange, ObjectStore } from '#libs/object-store';
import { type Tx, UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { getChain } from '../tables/chains.js';
import { countLeases, findLease, requireLeaseOf } from '../tables/leases.js';
import { findManifestOfCycle, manifestRefOf } from '../tables/manifests.js';
import { listPointsBefore } from '../tables/points.js';
import { leaseView, releaseLease } from '../tables/postgres-chain-ledger.js';
import { getRelationship } from '../tables/relationships.js';
import { toWireRef } from './agent-relationships.js';
import { requireWriter } from './peer-gate.js';
import { replacementsOfPath, toPointMap } from './resolve-point.js';
import { choosePoint } from './role-changes.js';

const LEASE_MS = 10 * MINUTE_MS;
/** Of one agent on one chain: a restore, a failback and some mounts. */
const VIEWS_MAX = 8;
/** A lease is renewed, and a point opened again, as often as somebody likes: told once in so long. */
const OPENING_TOLD_MS = HOUR_MS;

export interface ChainObject {
  readonly key: string;
  readonly sizeBytes: number;
}

/**
 * An agent reads back what it wrote: its points, how to open one, and the objects of its own chain, sealed as they are. What it takes to open them, the agent
 * has or is granted; nothing here does. Also while the replica cluster holds the VM: what changed there comes home this way.
 */
export class ReadPoints {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly audit: AuditLog,
  ) {}

  list(peer: AgentPeer, id: RelationshipId, { before, limit }: PointsQuery): Promise<WirePoint[]> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const chainId = await this.ownChain(tx, peer, id);
      const rows = await listPointsBefore(tx, chainId, before === undefined ? null : cycleToHex(BigInt(before)), limit);
      return rows.map((row) => ({
        id: row.id,
        cycle: BigInt(`0x${row.cycle}`).toString(),
        instant: row.instant.toISOString(),
        committedAt: row.committed_at.toISOString(),
        consistency: row.consistency,
      }));
    });
  }

  /** Leases the view of a point, or renews that; null is the newest sound one. What is sound of a damaged one can be read. `point.not-found`, `point.none`, `view.too-many`. */
  open(peer: AgentPeer, id: RelationshipId, viewId: string, pointId: RecoveryPointId | null): Promise<ViewAnswer> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const chainId = await this.ownChain(tx, peer, id);
      const chain = await getChain(tx, chainId, { lock: false });
      const point = await choosePoint(tx, chain, { id: pointId ?? undefined, allowDamaged: true });
      const holder = holderOf(peer);
      await requireLeaseOf(tx, chainId, viewId, holder);
      if ((await countLeases(tx, chainId, { holder, except: viewId })) >= VIEWS_MAX)
        throw new CodedError('view.too-many', 'exhausted', `an agent reads at most ${VIEWS_MAX} points of a VM at a time`);
      const address = { tenantId: peer.tenantId, chainId };
      const view = await leaseView(tx, { ...address, id: viewId, root: point.ref, holder, ttlMs: LEASE_MS });
      const entry = {
        actor: { kind: 'agent', id: peer.identityId, name: peer.dnsNames[0] ?? peer.identityId },
        action: 'point.opened',
        subject: { kind: 'recovery-point', id: point.id },
        details: { relationshipId: id },
      } as const;
      await this.audit.appendOnce(tx, entry, OPENING_TOLD_MS);
      return {
        tenantId: peer.tenantId,
        chainId,
        pointId: point.id,
        point: toWireRef(point.ref),
        map: toPointMap(view),
        leaseExpiresAt: view.expiresAt!.toISOString(),
        leaseMs: LEASE_MS,
      };
    });
  }

  /** A page of what was replaced in some layers of a leased path. `view.not-leased`. */
  replacements(peer: AgentPeer, id: RelationshipId, viewId: string, request: ReplacementsRequest): Promise<ReplacementsAnswer> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const chainId = await this.ownChain(tx, peer, id);
      const lease = await findLease(tx, viewId);
      const root = lease?.chain_id === chainId && lease.holder === holderOf(peer) ? await findManifestOfCycle(tx, lease.cycle) : undefined;
      if (root === undefined) throw new CodedError('view.not-leased', 'not-found', 'nothing is read under this id');
      return replacementsOfPath(tx, chainId, manifestRefOf(root), request);
    });
  }

  /** Ends the lease, or finds it ended. */
  release(peer: AgentPeer, id: RelationshipId, viewId: string): Promise<void> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const chainId = await this.ownChain(tx, peer, id);
      await requireLeaseOf(tx, chainId, viewId, holderOf(peer));
      await releaseLease(tx, chainId, viewId);
    });
  }

  /** An object by its name below the chain's prefix, which the contract has checked. `object.not-found`. */
  async object(peer: AgentPeer, id: RelationshipId, name: string): Promise<ChainObject> {
    const chainId = await this.unitOfWork.run(peer.tenantId, (tx) => this.ownChain(tx, peer, id));
    const key = `${new ObjectNames(peer.tenantId, chainId).prefix}${name}`;
    const found = await this.store.head(key);
    if (found === null) throw new CodedError('object.not-found', 'not-found', `there is no object ${name}`, { name });
    return { key, sizeBytes: found.sizeBytes };
  }

  read({ key, sizeBytes }: ChainObject, range: ByteRange): Promise<AsyncIterable<Uint8Array>> {
    return range.offset === 0 && range.length === sizeBytes ? this.store.stream(key) : this.store.stream(key, range);
  }

  private async ownChain(tx: Tx, peer: AgentPeer, id: RelationshipId): Promise<ChainId> {
    const relationship = await getRelationship(tx, id, { lock: false });
    const chain = await getChain(tx, asId<ChainId>(relationship.chain_id), { lock: false });
    await requireWriter(tx, peer, relationship, chain);
    return chain.chainId;
  }
}

function holderOf({ identityId }: AgentPeer): string {
  return `agent ${identityId}`;
}
