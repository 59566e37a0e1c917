import { randomBytes } from 'node:crypto';
import {
  ChainKeys,
  encodeListPage,
  encodeManifest,
  MemoryChainLedger,
  MemoryReplicaCatalogue,
  ObjectNames,
  openView,
  paginate,
  SegmentBuilder,
  UPKEEP_OPTIONS,
  type BlockPosition,
  type BuiltSegment,
  type ChainLedger,
  type ChainView,
  type CommittedPoint,
  type Manifest,
  type ManifestKind,
  type ReplicaCatalogue,
  type ResolvedView,
  type Upkeep,
  type UpkeepOptions,
  type Writer,
} from '#libs/chain';
import {
  Clock,
  newId,
  NoCrashPoints,
  type BranchId,
  type ChainId,
  type CrashPoints,
  type RecoveryPointId,
  type TenantId,
} from '#libs/kernel';
import { MemoryObjectStore, putBytes, type ObjectStore } from '#libs/object-store';

const [GRAIN_BYTES, GRAINS_PER_BLOCK, FULL_MASK] = [4096, 16, 0xffff];
const BLOCK_BYTES = GRAIN_BYTES * GRAINS_PER_BLOCK;

/** One block's change, or a run of zero blocks. */
type Change =
  | { readonly block: number; readonly mask: number; readonly plaintext: Uint8Array }
  | { readonly block: number; readonly zeroCount: number };

const VM = {
  name: 'web-1',
  machine: 'q35',
  cpuCount: 2,
  cpuModel: 'host',
  memoryBytes: 2 ** 31,
  firmware: 'uefi',
  secureBoot: true,
  clock: 'utc',
  adapters: [],
  nvramBytes: 0,
  tpmBytes: 0,
} as const;

/** Stands still until it is moved. */
export class ManualClock extends Clock {
  nowMs = Date.UTC(2026, 2, 1);

  now(): Date {
    return new Date(this.nowMs);
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  async sleep(ms: number): Promise<void> {
    this.nowMs += ms;
  }
}

/** A point, and what a plain disk held at that moment. */
export interface Kept {
  readonly point: CommittedPoint;
  readonly disk: Buffer;
}

/** Small enough that a few blocks make segments, and many points make work. */
export const SMALL_UPKEEP: UpkeepOptions = {
  ...UPKEEP_OPTIONS,
  targetBytes: 96 * 1024,
  smallBytes: 24 * 1024,
  smallCount: 6,
  stepBytes: 512 * 1024,
  batchBytes: 128 * 1024,
  cacheBytes: 1024 * 1024,
};

export interface MaintainedChainOptions {
  readonly store?: ObjectStore;
  readonly catalogue?: ReplicaCatalogue;
  readonly ledger?: ChainLedger;
  /** Of the only disk. */
  readonly blocks?: number;
}

/**
 * One disk of plain bytes, written by a writer that commits through a catalogue as a receiver would, and read as a replica node would: by a lease. For tests
 * of maintenance, which must not change what any of its points holds.
 */
export class MaintainedChain {
  readonly clock = new ManualClock();
  readonly address = { tenantId: newId<TenantId>(), chainId: newId<ChainId>() };
  readonly branchId = newId<BranchId>();
  readonly names = new ObjectNames(this.address.tenantId, this.address.chainId);
  readonly keys = new ChainKeys({ ...this.address, fingerprintKey: randomBytes(32), dataKeys: new Map([[1, randomBytes(32)]]) });
  readonly store: ObjectStore;
  readonly catalogue: ReplicaCatalogue;
  readonly ledger: ChainLedger;
  readonly peer: Writer = { id: newId(), tag: 'tag-a' };
  readonly kept = new Map<RecoveryPointId, Kept>();
  disk: Buffer;
  #dirty = new Set<number>();

  constructor(options: MaintainedChainOptions = {}) {
    this.store = options.store ?? new MemoryObjectStore();
    const memory = new MemoryReplicaCatalogue(this.clock, { leaseTtlMs: 1e12 });
    this.catalogue = options.catalogue ?? memory;
    this.ledger = options.ledger ?? new MemoryChainLedger(memory, this.clock);
    this.disk = Buffer.alloc((options.blocks ?? 12) * BLOCK_BYTES);
  }

  async create(): Promise<this> {
    const { branchId, peer } = this;
    await this.catalogue.createChain({ ...this.address, branchId, tag: peer.tag });
    await this.catalogue.recordKey({ ...this.address, writer: peer, generation: 1, kind: 'data', recipient: 'a'.repeat(64) });
    await this.catalogue.recordKey({ ...this.address, writer: peer, generation: 0, kind: 'fingerprint', recipient: 'a'.repeat(64) });
    return this;
  }

  upkeep(changes: Partial<Upkeep> = {}, crashPoints: CrashPoints = new NoCrashPoints()): Upkeep {
    const { ledger, address } = this;
    const signal = new AbortController().signal;
    return { ledger, store: this.store, address, options: SMALL_UPKEEP, crashPoints, signal, ...changes };
  }

  /** Writes bytes that compress to half, or zeros. */
  write(at: number, length: number, seed: number): void {
    const start = at % this.disk.length;
    const end = Math.min(this.disk.length, start + length);
    let state = (seed * 2_654_435_761) >>> 0;
    for (let index = start; index < end; index += 1) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      this.disk[index] = seed === 0 ? 0 : state >>> 28;
    }
    this.#touch(start, end);
  }

  /** Blocks that the next cycle carries whole, changed or not, as far as there are any. */
  sendWhole(blocks: readonly { readonly block: number }[]): void {
    for (const { block } of blocks)
      for (let grain = block * GRAINS_PER_BLOCK; grain < (block + 1) * GRAINS_PER_BLOCK; grain += 1)
        if (grain * GRAIN_BYTES < this.disk.length) this.#dirty.add(grain);
  }

  resize(blocks: number): void {
    const before = this.disk;
    this.disk = Buffer.alloc(blocks * BLOCK_BYTES);
    before.copy(this.disk);
    for (let grain = this.disk.length / GRAIN_BYTES; grain * GRAIN_BYTES < before.length; grain += 1) this.#dirty.add(grain);
  }

  /** What an import found: bytes of any origin. */
  put(at: number, bytes: Uint8Array): void {
    this.disk.set(bytes, at);
    this.#touch(at, at + bytes.length);
  }

  /** As an agent does it: asked when it opens the cycle. */
  async commitWithWhole(
    bytesMax = 16 * BLOCK_BYTES,
  ): Promise<{ readonly point: CommittedPoint; readonly asked: readonly BlockPosition[] }> {
    let asked: readonly BlockPosition[] = [];
    const point = await this.commit('point', this.store, async (cycle) =>
      this.sendWhole((asked = await this.ledger.askForWhole(this.address, cycle, bytesMax))),
    );
    return { point, asked };
  }

  /** Its named places are those before the catalogue decides. */
  async commit(
    kind: ManifestKind = 'point',
    store = this.store,
    onOpened?: (cycle: bigint) => Promise<void>,
    crashPoints: CrashPoints = new NoCrashPoints(),
  ): Promise<CommittedPoint> {
    const { names, peer, catalogue } = this;
    const { tenantId, chainId } = this.address;
    const { epoch, head } = await catalogue.chain(this.address);
    const cycle = await catalogue.openCycle({ ...this.address, writer: peer, epoch, kind, parent: head?.sha256 ?? null });
    await onOpened?.(cycle.cycle);
    const request = { tenantId, cycle: cycle.cycle, writer: peer };
    const segments = this.#seal(cycle.cycle);
    for (const { bytes, ...segment } of segments) {
      await putBytes(store, names.segment(segment.sha256), bytes);
      crashPoints.reached('segment-stored');
      await catalogue.recordSegment(request, segment);
    }
    const lists = [];
    for (const page of paginate(chainId, cycle.cycle, segments)) {
      const { bytes, sha256 } = encodeListPage(page);
      await putBytes(store, names.list(sha256), bytes);
      await catalogue.recordList(request, { sha256, entryCount: page.entries.length });
      lists.push({ sha256, entryCount: page.entries.length });
    }
    const { branchId, sequence, parent } = cycle;
    const disks = [{ ordinal: 0, sizeBytes: this.disk.length, name: 'system', bus: 'virtio' as const, bootOrder: 1 }];
    const manifest: Manifest = {
      kind,
      chainId,
      branchId,
      sequence,
      parent,
      cycle: cycle.cycle,
      epoch: cycle.epoch,
      keyGeneration: 1,
      instant: '2026-03-01T12:00:00.000Z',
      consistency: 'crash',
      disks,
      vm: VM,
      lists,
    };
    const { bytes, sha256 } = encodeManifest(manifest, this.keys);
    await catalogue.bindManifest(request, sha256);
    crashPoints.reached('manifest-bound');
    await putBytes(store, names.manifest(cycle), bytes);
    crashPoints.reached('manifest-stored');
    const point = await catalogue.commit({
      ...request,
      manifest,
      manifestSha256: sha256,
      segments: segments.map((segment) => segment.sha256),
    });
    this.#dirty.clear();
    if (kind === 'point') this.kept.set(point.id, { point, disk: Buffer.from(this.disk) });
    return point;
  }

  /** Goes on from an older point, as a failover does. */
  async branch(from: Kept): Promise<void> {
    const { epoch } = await this.catalogue.chain(this.address);
    await this.catalogue.openBranch({ ...this.address, epoch, branchId: newId<BranchId>(), frozenPoint: from.point.id });
    this.disk = Buffer.from(from.disk);
    this.#dirty.clear();
  }

  /** What retention does; `remove` does it where the catalogue is not in memory. */
  async deletePoint(id: RecoveryPointId, remove?: () => Promise<void>): Promise<void> {
    this.kept.delete(id);
    if (remove !== undefined) await remove();
    else if (this.catalogue instanceof MemoryReplicaCatalogue) this.catalogue.deletePoint(this.address, id);
  }

  async lease(point: CommittedPoint, ttlMs: number | null = 60_000): Promise<ResolvedView & { readonly id: string }> {
    const id = newId();
    return { id, ...(await this.ledger.leaseView({ ...this.address, id, root: point.ref, holder: 'a test', ttlMs })) };
  }

  open({ root, indexes, replacements }: ResolvedView, store = this.store): Promise<ChainView> {
    const { keys } = this;
    const replaced = new Map(replacements.map(({ segment, by }) => [segment, by]));
    return openView({ ...this.address, store, head: root, keys, indexes, replacements: replaced });
  }

  /** Every point that is kept, read through a fresh lease, that does not hold what the plain disk held. */
  async wrongPoints(): Promise<CommittedPoint[]> {
    const wrong: CommittedPoint[] = [];
    for (const { point, disk } of this.kept.values()) {
      const lease = await this.lease(point);
      const view = await this.open(lease);
      const found = await view.read(0, 0, disk.length);
      if (!found.equals(disk) || view.disk(0).sizeBytes !== disk.length) wrong.push(point);
      view.close();
      await this.ledger.releaseLease(this.address, lease.id);
    }
    return wrong;
  }

  async objects(under = ''): Promise<{ count: number; bytes: number }> {
    const sum = { count: 0, bytes: 0 };
    for await (const { sizeBytes } of this.store.list(this.names.prefix + under)) {
      sum.count += 1;
      sum.bytes += sizeBytes;
    }
    return sum;
  }

  #touch(start: number, end: number): void {
    for (let grain = Math.floor(start / GRAIN_BYTES); grain * GRAIN_BYTES < end; grain += 1) this.#dirty.add(grain);
  }

  /** Segments of a few blocks each. */
  #seal(cycle: bigint): BuiltSegment[] {
    const { fingerprintKey } = this.keys;
    const options = { ...this.address, cycle, generation: 1, dataKey: this.keys.dataKey(1), fingerprintKey, targetBytes: BLOCK_BYTES };
    const built: BuiltSegment[] = [];
    let builder = new SegmentBuilder(options);
    for (const [index, change] of this.#changes().entries()) {
      if (builder.isFull || (index % 4 === 3 && !builder.isEmpty)) {
        built.push(builder.finish());
        builder = new SegmentBuilder(options);
      }
      if ('plaintext' in change) builder.add(0, change.block, change.mask, change.plaintext);
      else builder.addZeroRun(0, change.block, change.zeroCount);
    }
    if (!builder.isEmpty) built.push(builder.finish());
    return built;
  }

  #changes(): Change[] {
    const masks = new Map<number, number>();
    for (const grain of this.#dirty) {
      const block = Math.floor(grain / GRAINS_PER_BLOCK);
      masks.set(block, (masks.get(block) ?? 0) | (1 << (grain % GRAINS_PER_BLOCK)));
    }
    const changes: Change[] = [];
    for (const [block, mask] of [...masks].sort(([a], [b]) => a - b)) {
      const grains = Array.from({ length: GRAINS_PER_BLOCK }, (_, grain) => grain).filter((grain) => (mask >> grain) & 1);
      const plaintext = Buffer.concat(grains.map((grain) => this.#grain(block * BLOCK_BYTES + grain * GRAIN_BYTES)));
      const before = changes.at(-1);
      const isZero = mask === FULL_MASK && plaintext.every((byte) => byte === 0);
      if (!isZero) changes.push({ block, mask, plaintext });
      else if (before !== undefined && 'zeroCount' in before && before.block + before.zeroCount === block)
        changes[changes.length - 1] = { ...before, zeroCount: before.zeroCount + 1 };
      else changes.push({ block, zeroCount: 1 });
    }
    return changes;
  }

  #grain(at: number): Buffer {
    const grain = Buffer.alloc(GRAIN_BYTES);
    if (at < this.disk.length) this.disk.copy(grain, 0, at, at + GRAIN_BYTES);
    return grain;
  }
}
