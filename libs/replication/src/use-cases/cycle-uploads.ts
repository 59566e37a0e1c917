import { createHash } from 'node:crypto';
import type { AgentPeer } from '#libs/agents';
import { type CycleRequest, decodeListPage, ObjectNames, SegmentInspector } from '#libs/chain';
import type { SegmentInterval } from '#libs/contracts/wire';
import { asId, type ChainId, CodedError, CrashPoints } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { type Tx, UnitOfWork } from '#libs/platform';
import type { CycleCrashPoint } from '../domain/cycle-crash-points.js';
import * as protocol from '../tables/catalogue-protocol.js';
import { type CycleRow, getCycle } from '../tables/cycles.js';
import { cycleOf } from '../tables/manifest-ref.js';
import { findRelationshipOfChain, RelationshipNotFoundError } from '../tables/relationships.js';
import { requireWriter, writerOf } from './peer-gate.js';
import { fromPeer } from './peer-input.js';
import { getChain } from '../tables/chains.js';

/** An upload's body with the size its sender declared; the stream ends with an error if it turns out otherwise. */
export interface Upload {
  readonly sizeBytes: number;
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * Takes what a cycle consists of: segments and list pages. Each is made durable in the store first and told to the
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
