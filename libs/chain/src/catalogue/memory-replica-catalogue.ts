import { newId, type BranchId, type Clock, type RecoveryPointId } from '#libs/kernel';
import { compareEpochs, cycleNumber } from '../cycle-number.js';
import type { ListEntry } from '../manifest/list-page.js';
import { referenceTo } from '../manifest/manifest-ref.js';
import { catalogueErrors as errors } from './catalogue-errors.js';
import { checkManifestIsOfCycle } from './check-commit.js';
import { chainStateOf, cycleStateOf, isCondemned, listSegments, type ChainRow, type CycleRow } from './memory-rows.js';
import {
  ReplicaCatalogue,
  type ChainAddress,
  type ChainState,
  type CommitCycle,
  type CommittedPoint,
  type CycleAddress,
  type CycleRequest,
  type CycleState,
  type KeyGeneration,
  type NewChain,
  type OpenBranch,
  type OpenCycle,
  type PointFilter,
  type RaiseEpoch,
  type Writer,
} from './replica-catalogue.js';

export interface MemoryReplicaCatalogueOptions {
  readonly incarnation?: number;
  readonly leaseTtlMs?: number;
  /** What the database would check beside: mode and denylist. Refuses by throwing. */
  readonly guard?: (writer: Writer, chain: ChainAddress) => void;
}

const LEASE_TTL_MS = 60_000;

/** The catalogue of simulations and tests. Every method runs to its end without awaiting, which makes it a transaction. */
export class MemoryReplicaCatalogue extends ReplicaCatalogue {
  readonly #clock: Clock;
  readonly #incarnation: number;
  readonly #leaseTtlMs: number;
  readonly #guard: (writer: Writer, chain: ChainAddress) => void;
  readonly #chains = new Map<string, ChainRow>();
  readonly #cycles = new Map<bigint, CycleRow>();
  #counter = 0;

  constructor(clock: Clock, options: MemoryReplicaCatalogueOptions = {}) {
    super();
    this.#clock = clock;
    this.#incarnation = options.incarnation ?? 1;
    this.#leaseTtlMs = options.leaseTtlMs ?? LEASE_TTL_MS;
    this.#guard = options.guard ?? (() => {});
  }

  async createChain({ tenantId, chainId, branchId, tag }: NewChain): Promise<ChainState> {
    const existing = this.#chains.get(chainId);
    if (existing !== undefined) {
      const isSame = existing.address.tenantId === tenantId && existing.firstBranchId === branchId && existing.tag === tag;
      if (!isSame) throw errors.chainExists();
      return chainStateOf(existing);
    }
    const chain: ChainRow = {
      address: { tenantId, chainId },
      firstBranchId: branchId,
      tag,
      epoch: { incarnation: this.#incarnation, counter: 1 },
      branchId,
      branches: new Map([[branchId, { frozenPoint: null, head: null }]]),
      keys: new Set(),
      generations: new Set(),
      points: [],
      deletedPoints: new Set(),
      segments: new Map(),
      strays: new Map(),
    };
    this.#chains.set(chainId, chain);
    return chainStateOf(chain);
  }

  async chain(address: ChainAddress): Promise<ChainState> {
    return chainStateOf(this.#chain(address));
  }

  async openCycle(request: OpenCycle): Promise<CycleState> {
    const chain = this.#writable(request, request.writer);
    if (compareEpochs(request.epoch, chain.epoch) !== 0) throw errors.staleEpoch(chain.epoch);
    const { head } = chain.branches.get(chain.branchId)!;
    if ((head?.sha256 ?? null) !== request.parent) throw errors.parentMismatch(head);
    this.#voidOpen(chain, chain.branchId);
    this.#counter += 1;
    const number = cycleNumber(this.#incarnation, this.#counter);
    const cycle: CycleRow = {
      state: {
        ...chain.address,
        cycle: number,
        kind: request.kind,
        epoch: chain.epoch,
        branchId: chain.branchId,
        sequence: head === null ? 0 : head.sequence + 1,
        parent: head,
      },
      writerId: request.writer.id,
      status: 'open',
      leaseExpiresAtMs: this.#nowMs() + this.#leaseTtlMs,
      manifestSha256: null,
      committed: null,
      segments: new Map(),
      lists: new Map(),
    };
    this.#cycles.set(number, cycle);
    return cycleStateOf(cycle);
  }

  async cycle(address: CycleAddress): Promise<CycleState> {
    return cycleStateOf(this.#cycle(address));
  }

  async renewLease(request: CycleRequest): Promise<Date> {
    const { cycle } = this.#open(request, { isLeaseNeeded: false });
    cycle.leaseExpiresAtMs = this.#nowMs() + this.#leaseTtlMs;
    return new Date(cycle.leaseExpiresAtMs);
  }

  async recordSegment(request: CycleRequest, segment: ListEntry & { readonly generations: readonly number[] }): Promise<void> {
    const { chain, cycle } = this.#open(request);
    const { sha256, generations, ...entry } = segment;
    for (const generation of generations) if (!chain.generations.has(generation)) throw errors.generationUnknown(generation);
    if (isCondemned(chain, `s/${sha256}`)) throw errors.segmentMissing(sha256);
    const row = chain.segments.get(sha256) ?? {
      ...entry,
      sha256,
      role: 'uploaded',
      doomedAtMs: null,
      isCondemned: false,
      replacedBy: null,
    };
    chain.segments.set(sha256, row);
    cycle.segments.set(sha256, row);
  }

  async recordList(request: CycleRequest, list: { readonly sha256: string; readonly entryCount: number }): Promise<void> {
    const { chain, cycle } = this.#open(request);
    if (isCondemned(chain, `l/${list.sha256}`)) throw errors.listMissing(list.sha256);
    cycle.lists.set(list.sha256, list.entryCount);
  }

  async recordKey(key: KeyGeneration): Promise<void> {
    const chain = this.#writable(key, key.writer);
    chain.keys.add(`${key.generation}-${key.kind}-${key.recipient}`);
    if (key.kind === 'data') chain.generations.add(key.generation);
  }

  async bindManifest(request: CycleRequest, manifestSha256: string): Promise<CommittedPoint | null> {
    const repeated = this.#answerFromRow(request, manifestSha256);
    if (repeated !== null) return repeated;
    const { cycle } = this.#open(request);
    cycle.manifestSha256 ??= manifestSha256;
    if (cycle.manifestSha256 !== manifestSha256) throw errors.manifestConflict(cycle.manifestSha256);
    return null;
  }

  async commit(request: CommitCycle): Promise<CommittedPoint> {
    const { manifest, manifestSha256 } = request;
    const repeated = this.#answerFromRow(request, manifestSha256);
    if (repeated !== null) return repeated;
    const { chain, cycle } = this.#open(request);
    if (cycle.manifestSha256 !== manifestSha256) throw errors.manifestConflict(cycle.manifestSha256);
    const branch = chain.branches.get(cycle.state.branchId)!;
    if (branch.head?.sha256 !== cycle.state.parent?.sha256) throw errors.parentMismatch(branch.head);
    checkManifestIsOfCycle(manifest, cycleStateOf(cycle));
    if (!chain.generations.has(manifest.keyGeneration)) throw errors.generationUnknown(manifest.keyGeneration);
    if (![...chain.keys].some((key) => key.startsWith('0-fingerprint-'))) throw errors.fingerprintKeyUnknown();
    listSegments(request, cycle);
    const point: CommittedPoint = {
      ...chain.address,
      id: newId<RecoveryPointId>(this.#nowMs()),
      kind: manifest.kind,
      ref: referenceTo(manifest, manifestSha256),
      parent: cycle.state.parent,
      epoch: cycle.state.epoch,
      instant: new Date(manifest.instant),
      consistency: manifest.consistency,
      committedAt: this.#clock.now(),
    };
    cycle.status = 'committed';
    cycle.committed = point;
    branch.head = point.ref;
    chain.points.push(point);
    return point;
  }

  async raiseEpoch(request: RaiseEpoch): Promise<ChainState> {
    const chain = this.#chain(request);
    if (compareEpochs(request.epoch, chain.epoch) !== 0) throw errors.staleEpoch(chain.epoch);
    if (request.branchId !== undefined && !chain.branches.has(request.branchId)) throw errors.branchNotFound();
    this.#raise(chain, request.branchId ?? chain.branchId);
    return chainStateOf(chain);
  }

  async openBranch(request: OpenBranch): Promise<ChainState> {
    const chain = this.#chain(request);
    const existing = chain.branches.get(request.branchId);
    if (existing !== undefined) {
      if (existing.frozenPoint !== request.frozenPoint) throw errors.branchExists();
      return chainStateOf(chain);
    }
    if (compareEpochs(request.epoch, chain.epoch) !== 0) throw errors.staleEpoch(chain.epoch);
    const frozenPoint = await this.point(request, request.frozenPoint);
    if (frozenPoint.kind !== 'point') throw errors.pointNotFound();
    chain.branches.set(request.branchId, { frozenPoint: frozenPoint.id, head: frozenPoint.ref });
    this.#raise(chain, request.branchId);
    return chainStateOf(chain);
  }

  async listPoints(address: ChainAddress, filter: PointFilter = {}): Promise<CommittedPoint[]> {
    const { kind, branchId } = filter;
    return this.#chain(address).points.filter(
      (point) => (kind ?? point.kind) === point.kind && (branchId ?? point.ref.branchId) === point.ref.branchId,
    );
  }

  async point(address: ChainAddress, id: RecoveryPointId): Promise<CommittedPoint> {
    const point = this.#chain(address).points.find((candidate) => candidate.id === id);
    if (point === undefined) throw errors.pointNotFound();
    return point;
  }

  /** What collection would do to a segment that nothing references. */
  doomSegment(address: ChainAddress, sha256: string): void {
    const segment = this.#chain(address).segments.get(sha256);
    if (segment !== undefined) segment.doomedAtMs = this.#nowMs();
  }

  /** The rows themselves, for the adapter that keeps the other half of them. */
  rows(address: ChainAddress): { readonly chain: ChainRow; readonly cycles: readonly CycleRow[] } {
    const chain = this.#chain(address);
    return { chain, cycles: this.#cyclesOf(chain) };
  }

  /** What retention does: the point can be chosen no more; its manifest stays. */
  deletePoint(address: ChainAddress, id: RecoveryPointId): void {
    this.#chain(address).deletedPoints.add(id);
  }

  changeTag(address: ChainAddress, tag: string): void {
    this.#chain(address).tag = tag;
  }

  #chain({ tenantId, chainId }: ChainAddress): ChainRow {
    const chain = this.#chains.get(chainId);
    if (chain === undefined || chain.address.tenantId !== tenantId) throw errors.chainNotFound();
    return chain;
  }

  #cycle({ tenantId, cycle: number }: CycleAddress): CycleRow {
    const cycle = this.#cycles.get(number);
    if (cycle === undefined || cycle.state.tenantId !== tenantId) throw errors.cycleNotFound();
    return cycle;
  }

  #cyclesOf(chain: ChainRow): CycleRow[] {
    return [...this.#cycles.values()].filter(({ state }) => state.chainId === chain.address.chainId);
  }

  #writable(address: ChainAddress, writer: Writer): ChainRow {
    const chain = this.#chain(address);
    this.#guard(writer, chain.address);
    if (writer.tag !== chain.tag) throw errors.wrongTag();
    return chain;
  }

  /** The cycle, if this writer may still add to it. */
  #open(request: CycleRequest, { isLeaseNeeded } = { isLeaseNeeded: true }): { chain: ChainRow; cycle: CycleRow } {
    const { chain, cycle } = this.#own(request);
    if (cycle.status === 'committed') throw errors.committed();
    if (compareEpochs(cycle.state.epoch, chain.epoch) !== 0) throw errors.staleEpoch(chain.epoch);
    if (cycle.status === 'voided') throw errors.voided();
    if (isLeaseNeeded && cycle.leaseExpiresAtMs <= this.#nowMs()) throw errors.leaseExpired();
    return { chain, cycle };
  }

  #own(request: CycleRequest): { chain: ChainRow; cycle: CycleRow } {
    const cycle = this.#cycle(request);
    const chain = this.#writable(cycle.state, request.writer);
    if (cycle.writerId !== request.writer.id) throw errors.wrongWriter();
    return { chain, cycle };
  }

  /** A repeated commit gets the first answer, also after lease and epoch have moved on. */
  #answerFromRow(request: CycleRequest, manifestSha256: string): CommittedPoint | null {
    const { committed } = this.#own(request).cycle;
    if (committed !== null && committed.ref.sha256 !== manifestSha256) throw errors.manifestConflict(committed.ref.sha256);
    return committed;
  }

  #raise(chain: ChainRow, branchId: BranchId): void {
    chain.epoch = { incarnation: this.#incarnation, counter: chain.epoch.counter + 1 };
    chain.branchId = branchId;
    for (const openBranchId of chain.branches.keys()) this.#voidOpen(chain, openBranchId);
  }

  #voidOpen(chain: ChainRow, branchId: BranchId): void {
    for (const cycle of this.#cyclesOf(chain)) {
      if (cycle.state.branchId === branchId && cycle.status === 'open') cycle.status = 'voided';
    }
  }

  #nowMs(): number {
    return this.#clock.now().getTime();
  }
}
