import type { AgentPeer } from '#libs/agents';
import {
  type CommittedPoint,
  decodeListPage,
  decodeManifest,
  encodeRelationshipRecord,
  type Manifest,
  ObjectNames,
  presenceOf,
} from '#libs/chain';
import type { CommitAnswer } from '#libs/contracts/wire';
import { asId, type ChainId, CrashPoints, type RelationshipId, type VmId } from '#libs/kernel';
import { ObjectStore, putBytes } from '#libs/object-store';
import { UnitOfWork } from '#libs/platform';
import { createHash } from 'node:crypto';
import type { CycleCrashPoint } from '../domain/cycle-crash-points.js';
import { canApply } from '../domain/replication-state.js';
import * as protocol from '../tables/catalogue-protocol.js';
import { cycleOf } from '../tables/manifest-ref.js';
import { applyEvent, getRelationship } from '../tables/relationships.js';
import { getVirtualMachine } from '../tables/virtual-machines.js';
import { toWireRef } from './agent-relationships.js';
import { requireOwnCycle } from './cycle-uploads.js';
import { PeerGate, writerOf } from './peer-gate.js';
import { fromPeer } from './peer-input.js';

/**
 * Acknowledges a cycle, in the order that makes an acknowledgement mean "durable": the cycle is bound to this manifest and to no
 * other, the manifest is stored, then one transaction decides. A crash after any step leaves the cycle open; a repeat goes on
 * from where it stopped, and a repeat of a committed one gets the same answer from the row.
 */
export class CommitCycle {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly crashPoints: CrashPoints,
  ) {}

  async execute(peer: AgentPeer, cycleId: string, bytes: Buffer): Promise<CommitAnswer> {
    const manifestSha256 = createHash('sha256').update(bytes).digest('hex');
    const cycle = await this.unitOfWork.run(peer.tenantId, (tx) => requireOwnCycle(tx, peer, cycleId));
    const chainId = asId<ChainId>(cycle.chain_id);
    const manifest = fromPeer(() => decodeManifest(bytes, { chainId }));
    const request = { tenantId: peer.tenantId, cycle: cycleOf(cycle.cycle), writer: writerOf(peer) };

    const done = await this.unitOfWork.run(peer.tenantId, async (tx) => {
      await protocol.requireDescribed(tx, request, manifest, manifestSha256);
      return protocol.bindManifest(tx, request, manifestSha256);
    });
    if (done !== null) return this.answer(peer, chainId, manifest, done);
    this.crash('manifest-bound');

    const names = new ObjectNames(peer.tenantId, chainId);
    const segments = await this.listedSegments(names, chainId, manifest);
    // The chain's first: whose it is stands in the store before anything that counts.
    if (manifest.parent === null) await this.recordRelationship(peer, names, chainId, cycle.relationshipId);
    await this.store.put(names.manifest(manifest), bytes, { sizeBytes: bytes.length, sha256: manifestSha256 });
    this.crash('manifest-stored');

    const point = await this.unitOfWork.run(peer.tenantId, async (tx) => {
      const gate = new PeerGate(peer);
      const committed = await protocol.commit(tx, { ...request, manifest, manifestSha256, segments }, gate);
      if (committed.kind === 'point' && canApply(gate.relationship.state, 'pointCommitted'))
        await applyEvent(tx, gate.relationship, 'pointCommitted', { failure: null });
      this.crash('commit-decided');
      return committed;
    });
    this.crash('committed');
    return this.answer(peer, chainId, manifest, point);
  }

  private async recordRelationship(peer: AgentPeer, names: ObjectNames, chainId: ChainId, id: string): Promise<void> {
    const relationshipId = asId<RelationshipId>(id);
    const sourceId = await this.unitOfWork.run(peer.tenantId, async (tx) => {
      const { vm_id: vmId } = await getRelationship(tx, relationshipId, { lock: false });
      return (await getVirtualMachine(tx, asId<VmId>(vmId))).source_id;
    });
    const { bytes } = encodeRelationshipRecord({ chainId, relationshipId, sourceId, tag: peer.tag });
    await putBytes(this.store, names.relationship(relationshipId), bytes);
  }

  /** Not before the chain's first manifest counts is it said that the chain is there: what a database must know of is acknowledged, or about to be. */
  private async answer(peer: AgentPeer, chainId: ChainId, { parent }: Manifest, point: CommittedPoint): Promise<CommitAnswer> {
    if (parent === null) await putBytes(this.store, presenceOf({ tenantId: peer.tenantId, chainId }), Buffer.from(chainId));
    return toAnswer(point);
  }

  private crash(point: CycleCrashPoint): void {
    this.crashPoints.reached(point);
  }

  private async listedSegments(names: ObjectNames, chainId: ChainId, manifest: Manifest): Promise<string[]> {
    const segments: string[] = [];
    for (const { sha256 } of manifest.lists) {
      const page = decodeListPage(await this.store.get(names.list(sha256)), { chainId });
      segments.push(...page.entries.map((entry) => entry.sha256));
    }
    return segments;
  }
}

function toAnswer(point: CommittedPoint): CommitAnswer {
  return {
    head: toWireRef(point.ref),
    recoveryPointId: point.kind === 'point' ? point.id : null,
    committedAt: point.committedAt.toISOString(),
  };
}
