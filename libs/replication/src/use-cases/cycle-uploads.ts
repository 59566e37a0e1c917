import { createHash, createPublicKey } from 'node:crypto';
import { type AgentPeer, findAgent, findTenantKeyBySha256, refusals } from '#libs/agents';
import { type CycleRequest, decodeListPage, ObjectNames, SegmentInspector, verifyWrappedKey, type WrappedKeyKind } from '#libs/chain';
import type { SegmentInterval } from '#libs/contracts/wire';
import { asId, type ChainId, CodedError, CrashPoints, type RelationshipId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { type Tx, UnitOfWork } from '#libs/platform';
import type { CycleCrashPoint } from '../domain/cycle-crash-points.js';
import * as protocol from '../tables/catalogue-protocol.js';
import { type ChainKeyRow, findChainKey } from '../tables/chain-keys.js';
import { type CycleRow, getCycle } from '../tables/cycles.js';
import { cycleOf } from '../tables/manifest-ref.js';
import { findRelationshipOfChain, getRelationship, RelationshipNotFoundError } from '../tables/relationships.js';
import { requirePrimary, requireWriter, writerOf } from './peer-gate.js';
import { fromPeer } from './peer-input.js';
import { getChain } from '../tables/chains.js';

/** An upload's body with the size its sender declared; the stream ends with an error if it turns out otherwise. */
export interface Upload {
  readonly sizeBytes: number;
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * Takes what a cycle consists of: segments, list pages, wrapped keys. Each is made durable in the store first and told to the
 * catalogue after, so that what the catalogue knows is there. A repeat is harmless: objects are named by their content.
 */
export class CycleUploads {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly crashPoints: CrashPoints,
  ) {}

  /** Hashes and checks the structure while the bytes stream into the store; a segment that is not right leaves nothing behind. */
  async putSegment(
    peer: AgentPeer,
    cycleId: string,
    sha256: string,
    upload: Upload,
  ): Promise<SegmentInterval & { readonly created: boolean }> {
    const { request, names, chainId } = await this.begin(peer, cycleId);
    const inspector = new SegmentInspector({ chainId, sizeBytes: upload.sizeBytes, sha256, cycle: request.cycle });
    const { created } = await this.store.put(names.segment(sha256), inspector.through(upload.body), {
      sizeBytes: upload.sizeBytes,
      sha256,
    });
    this.crashPoints.reached('segment-stored' satisfies CycleCrashPoint);
    const summary = inspector.finish();
    await this.unitOfWork.run(peer.tenantId, (tx) => protocol.recordSegment(tx, request, summary));
    return {
      sha256,
      sizeBytes: summary.sizeBytes,
      firstDisk: summary.first.disk,
      firstBlock: summary.first.block,
      lastDisk: summary.last.disk,
      lastBlock: summary.last.block,
      recordCount: summary.recordCount,
      created,
    };
  }

  async putList(peer: AgentPeer, cycleId: string, sha256: string, bytes: Buffer): Promise<void> {
    const { request, names, chainId } = await this.begin(peer, cycleId);
    requireHash(bytes, sha256);
    const page = fromPeer(() => decodeListPage(bytes, { chainId }));
    if (page.cycle !== request.cycle) throw new CodedError('list.wrong-cycle', 'invalid', 'the page is of another cycle');
    await this.store.put(names.list(sha256), bytes, { sizeBytes: bytes.length, sha256 });
    await this.unitOfWork.run(peer.tenantId, (tx) => protocol.recordList(tx, request, { sha256, entryCount: page.entries.length }));
  }

  /**
   * A data or fingerprint key, wrapped to the tenant's key and signed by the agent's identity. The first one of a generation stands;
   * another is `keys.exists`, and `keys.other-writer` where it is not this agent's. One for a key that the tenant has replaced is `keys.recipient-retired`.
   * Where the generation is wrapped to another version already, nothing is taken: whoever holds that version wraps it again. The old primary of a VM that was failed over leaves none: `cycle.stale-epoch`.
   */
  async putKey(
    peer: AgentPeer,
    relationshipId: RelationshipId,
    kind: WrappedKeyKind,
    generation: number,
    bytes: Buffer,
  ): Promise<{ readonly sha256: string; readonly created: boolean }> {
    const {
      chainId,
      key,
      isHere,
      isRecorded: wasRecorded,
    } = await this.unitOfWork.run(peer.tenantId, async (tx) => {
      const relationship = await getRelationship(tx, relationshipId, { lock: false });
      const chain = await getChain(tx, asId<ChainId>(relationship.chain_id), { lock: false });
      await requireWriter(tx, peer, relationship, chain);
      await requirePrimary(tx, relationship);
      const agent = await findAgent(tx, peer.identityId);
      if (agent === undefined) throw refusals.agentNotFound();
      const writerKey = createPublicKey({ key: agent.signing_key, format: 'der', type: 'spki' });
      const wrapped = fromPeer(() => verifyWrappedKey(bytes, { chainId: chain.chainId, writerKey }));
      const recipient = await findTenantKeyBySha256(tx, wrapped.recipient);
      if (recipient === undefined)
        throw new CodedError('keys.recipient-unknown', 'invalid', "keys are wrapped to the tenant's key; enrol again to learn it");
      const known = await findChainKey(tx, { chain_id: chain.chainId, kind, generation });
      // The first writer's stands, whichever version of the tenant's key it is wrapped to; and what a holder wrapped again is that writer's key.
      if (known.some(({ writer_id }) => writer_id !== peer.identityId))
        throw new CodedError('keys.other-writer', 'conflict', 'this generation has a key of another writer');
      const isHere =
        isSettled(known, wrapped.recipient) || known.some((each) => each.recipient === wrapped.recipient && each.wrapped_by === 'holder');
      if (recipient.state !== 'active' && known.length === 0) throw recipientRetired();
      const isRecorded = known.some((each) => each.recipient === wrapped.recipient);
      return { chainId: chain.chainId, key: wrapped, isHere, isRecorded };
    });
    if (isHere) return { sha256: createHash('sha256').update(bytes).digest('hex'), created: false };
    if (key.kind !== kind || key.generation !== generation)
      throw new CodedError('keys.malformed', 'invalid', 'the wrapped key is of another generation or kind than its name says');
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const name = new ObjectNames(peer.tenantId, chainId).wrappedKey(key);
    const { created } = await this.store.put(name, bytes, { sizeBytes: bytes.length, sha256 }).catch((error: unknown) => {
      // What stands there counts: an agent that lost its state goes on with other keys. Unrecorded, it is the rest of an upload that broke off.
      const isConflict = error instanceof CodedError && error.code === 'object.conflict';
      throw isConflict && wasRecorded
        ? new CodedError('keys.exists', 'conflict', 'this generation has another key already', {}, error)
        : error;
    });
    const isRecorded = await this.unitOfWork.run(peer.tenantId, async (tx) => {
      // Asked again while a rotation has to wait: nothing new is ever recorded for a version that is retired.
      const recipient = await findTenantKeyBySha256(tx, key.recipient, { lock: true });
      const known = await findChainKey(tx, { chain_id: chainId, kind, generation });
      if (isSettled(known, key.recipient)) return false;
      if (recipient?.state !== 'active' && known.length === 0) throw recipientRetired();
      await protocol.recordKey(tx, {
        tenantId: peer.tenantId,
        chainId,
        writer: writerOf(peer),
        generation,
        kind,
        recipient: key.recipient,
      });
      return true;
    });
    return { sha256, created: created && isRecorded };
  }

  /** Asked before the first byte is taken: an upload that can't be recorded is refused without being stored. */
  private begin(peer: AgentPeer, cycleId: string): Promise<{ request: CycleRequest; names: ObjectNames; chainId: ChainId }> {
    return this.unitOfWork.run(peer.tenantId, async (tx) => {
      const row = await requireOwnCycle(tx, peer, cycleId);
      const request = { tenantId: peer.tenantId, cycle: cycleOf(row.cycle), writer: writerOf(peer) };
      await protocol.requireOpen(tx, request, { lease: 'must-hold' });
      const chainId = asId<ChainId>(row.chain_id);
      return { request, names: new ObjectNames(peer.tenantId, chainId), chainId };
    });
  }
}

/** A cycle that this agent may see: of its relationship, with its tag, under an entry that stands now. */
export async function requireOwnCycle(tx: Tx, peer: AgentPeer, cycleId: string): Promise<CycleRow & { readonly relationshipId: string }> {
  const row = await getCycle(tx, cycleId);
  const chainId = asId<ChainId>(row.chain_id);
  const relationship = await findRelationshipOfChain(tx, chainId, { lock: false });
  if (relationship === undefined || relationship.removed_at !== null) throw new RelationshipNotFoundError();
  await requireWriter(tx, peer, relationship, await getChain(tx, chainId, { lock: false }));
  return { ...row, relationshipId: relationship.id };
}

export function requireHash(bytes: Uint8Array, sha256: string): void {
  if (createHash('sha256').update(bytes).digest('hex') !== sha256)
    throw new CodedError('object.hash-mismatch', 'invalid', 'the bytes are not those of this name', { sha256 });
}

/**
 * The generation has its key, wrapped to another version: only whoever opens that one can tell whether this is the same key, so that nothing of its
 * writer counts as wrapped again. It could be a false one, and the version that opens the true one would be destroyed.
 */
function isSettled(known: readonly ChainKeyRow[], recipient: string): boolean {
  return known.length > 0 && !known.some((each) => each.recipient === recipient);
}

function recipientRetired(): CodedError {
  return new CodedError('keys.recipient-retired', 'conflict', 'the tenant has another key by now; wrap to that one');
}
