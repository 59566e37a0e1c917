import {
  type ChainAddress,
  type ChainState,
  type CommitCycle,
  type CommittedPoint,
  type CycleAddress,
  type CycleRequest,
  type CycleState,
  type KeyGeneration,
  type ListEntry,
  type ManifestKind,
  type NewChain,
  type OpenBranch,
  type OpenCycle,
  type RaiseEpoch,
  ReplicaCatalogue,
} from '#libs/chain';
import { type BranchId, type RecoveryPointId } from '#libs/kernel';
import { type Tx, UnitOfWork } from '#libs/platform';
import { WriterGate } from './writer-gate.js';
import * as protocol from './catalogue-protocol.js';
import { getChain, insertChain } from './chains.js';
import { getCycleByNumber, renewLease, toCycleState } from './cycles.js';
import { getManifest, listManifests, toCommittedPoint } from './manifests.js';

/** How long a cycle stays its writer's without a word. The agent renews at a third of it. */
export const CYCLE_LEASE_MS = 60_000;

/** The catalogue in PostgreSQL: each method is one transaction of {@link protocol}'s. Its order of locks: relationship, chain. */
export class PostgresReplicaCatalogue extends ReplicaCatalogue {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly gate: WriterGate,
    private readonly leaseMs: number = CYCLE_LEASE_MS,
  ) {
    super();
  }

  createChain(chain: NewChain): Promise<ChainState> {
    return this.unitOfWork.run(chain.tenantId, (tx) => insertChain(tx, chain));
  }

  chain({ tenantId, chainId }: ChainAddress): Promise<ChainState> {
    return this.unitOfWork.run(tenantId, (tx) => getChain(tx, chainId, { lock: false }));
  }

  openCycle(request: OpenCycle): Promise<CycleState> {
    return this.unitOfWork.run(request.tenantId, async (tx) => {
      const kind = request.parent === null ? 'initial' : 'delta';
      return toCycleState(tx, await protocol.openCycle(tx, request, { kind, leaseMs: this.leaseMs, gate: this.gate }));
    });
  }

  cycle({ tenantId, cycle }: CycleAddress): Promise<CycleState> {
    return this.unitOfWork.run(tenantId, async (tx) => toCycleState(tx, await getCycleByNumber(tx, cycle)));
  }

  renewLease(request: CycleRequest): Promise<Date> {
    return this.inCycle(request, async (tx) => {
      const { row } = await protocol.requireOpen(tx, request, { lease: 'may-have-ended' });
      return renewLease(tx, row.id, this.leaseMs);
    });
  }

  recordSegment(request: CycleRequest, segment: ListEntry & { readonly generations: readonly number[] }): Promise<void> {
    return this.inCycle(request, (tx) => protocol.recordSegment(tx, request, segment));
  }

  recordList(request: CycleRequest, list: { readonly sha256: string; readonly entryCount: number }): Promise<void> {
    return this.inCycle(request, (tx) => protocol.recordList(tx, request, list));
  }

  recordKey(key: KeyGeneration): Promise<void> {
    return this.unitOfWork.run(key.tenantId, (tx) => protocol.recordKey(tx, key));
  }

  bindManifest(request: CycleRequest, manifestSha256: string): Promise<CommittedPoint | null> {
    return this.inCycle(request, (tx) => protocol.bindManifest(tx, request, manifestSha256));
  }

  commit(request: CommitCycle): Promise<CommittedPoint> {
    return this.inCycle(request, (tx) => protocol.commit(tx, request, this.gate));
  }

  raiseEpoch(request: RaiseEpoch): Promise<ChainState> {
    return this.unitOfWork.run(request.tenantId, (tx) => protocol.raiseEpoch(tx, request));
  }

  openBranch(request: OpenBranch): Promise<ChainState> {
    return this.unitOfWork.run(request.tenantId, (tx) => protocol.openBranch(tx, request));
  }

  listPoints(
    { tenantId, chainId }: ChainAddress,
    filter: { readonly kind?: ManifestKind; readonly branchId?: BranchId } = {},
  ): Promise<CommittedPoint[]> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await getChain(tx, chainId, { lock: false });
      return (await listManifests(tx, chainId, filter)).map(toCommittedPoint);
    });
  }

  point({ tenantId, chainId }: ChainAddress, id: RecoveryPointId): Promise<CommittedPoint> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      await getChain(tx, chainId, { lock: false });
      return toCommittedPoint(await getManifest(tx, chainId, id));
    });
  }

  private inCycle<T>(request: CycleRequest, work: (tx: Tx) => Promise<T>): Promise<T> {
    return this.unitOfWork.run(request.tenantId, work);
  }
}
