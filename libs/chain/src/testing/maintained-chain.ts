import { Clock, newId, NoCrashPoints, type BranchId, type CrashPoints, type RecoveryPointId } from '#libs/kernel';
import { MemoryObjectStore, putBytes, type ObjectStore } from '#libs/object-store';
import { MemoryReplicaCatalogue } from '../catalogue/memory-replica-catalogue.js';
import type { CommittedPoint, ReplicaCatalogue, Writer } from '../catalogue/replica-catalogue.js';
import { BLOCK_BYTES, FULL_MASK, GRAIN_BYTES, GRAINS_PER_BLOCK } from '../limits.js';
import type { ChainLedger, ResolvedView } from '../maintenance/chain-ledger.js';
import { MemoryChainLedger } from '../maintenance/memory-chain-ledger.js';
import { UPKEEP_OPTIONS, type Upkeep, type UpkeepOptions } from '../maintenance/upkeep.js';
import { encodeListPage, paginate } from '../manifest/list-page.js';
import { encodeManifest } from '../manifest/manifest-codec.js';
import type { ManifestKind } from '../manifest/manifest.js';
import type { ChainView } from '../view/chain-view.js';
import { openView } from '../view/open-view.js';
import { aDisk, aVm, ChainWriter, type Change } from './chain-writer.js';

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
  readonly writer: ChainWriter;
  readonly catalogue: ReplicaCatalogue;
  readonly ledger: ChainLedger;
  readonly peer: Writer = { id: newId(), tag: 'tag-a' };
  readonly kept = new Map<RecoveryPointId, Kept>();
  disk: Buffer;
  #dirty = new Set<number>();

  constructor(options: MaintainedChainOptions = {}) {
    this.writer = new ChainWriter(options.store ?? new MemoryObjectStore());
    const memory = new MemoryReplicaCatalogue(this.clock, { leaseTtlMs: 1e12 });
    this.catalogue = options.catalogue ?? memory;
    this.ledger = options.ledger ?? new MemoryChainLedger(memory, this.clock);
    this.disk = Buffer.alloc((options.blocks ?? 12) * BLOCK_BYTES);
  }

  get address(): { tenantId: ChainWriter['tenantId']; chainId: ChainWriter['chainId'] } {
    return { tenantId: this.writer.tenantId, chainId: this.writer.chainId };
  }

  async create(): Promise<this> {
    const { writer, peer } = this;
    await this.catalogue.createChain({ ...this.address, branchId: writer.branchId, tag: peer.tag });
    await this.catalogue.recordKey({ ...this.address, writer: peer, generation: 1, kind: 'data', recipient: 'a'.repeat(64) });
    return this;
  }

  upkeep(changes: Partial<Upkeep> = {}, crashPoints: CrashPoints = new NoCrashPoints()): Upkeep {
    const { ledger, address } = this;
    const signal = new AbortController().signal;
    return { ledger, store: this.writer.store, address, options: SMALL_UPKEEP, crashPoints, signal, ...changes };
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
    for (let grain = Math.floor(start / GRAIN_BYTES); grain * GRAIN_BYTES < end; grain += 1) this.#dirty.add(grain);
  }

  resize(blocks: number): void {
    const before = this.disk;
    this.disk = Buffer.alloc(blocks * BLOCK_BYTES);
    before.copy(this.disk);
    for (let grain = this.disk.length / GRAIN_BYTES; grain * GRAIN_BYTES < before.length; grain += 1) this.#dirty.add(grain);
  }

  async commit(kind: ManifestKind = 'point'): Promise<CommittedPoint> {
    const { writer, peer, catalogue } = this;
    const { epoch, head } = await catalogue.chain(this.address);
    const cycle = await catalogue.openCycle({ ...this.address, writer: peer, epoch, kind, parent: head?.sha256 ?? null });
    const request = { tenantId: writer.tenantId, cycle: cycle.cycle, writer: peer };
    const segments = writer.seal(cycle.cycle, { changes: this.#changes(), splitAt: (index) => index % 4 === 3 });
    for (const { bytes, ...segment } of segments) {
      await putBytes(writer.store, writer.names.segment(segment.sha256), bytes);
      await catalogue.recordSegment(request, segment);
    }
    const lists = [];
    for (const page of paginate(writer.chainId, cycle.cycle, segments)) {
      const { bytes, sha256 } = encodeListPage(page);
      await putBytes(writer.store, writer.names.list(sha256), bytes);
      await catalogue.recordList(request, { sha256, entryCount: page.entries.length });
      lists.push({ sha256, entryCount: page.entries.length });
    }
    const { branchId, sequence, parent } = cycle;
    const manifest = {
      ...{ kind, branchId, sequence, parent, lists, epoch: cycle.epoch, cycle: cycle.cycle, chainId: writer.chainId, keyGeneration: 1 },
      ...{ instant: '2026-03-01T12:00:00.000Z', consistency: 'crash' as const, disks: [aDisk(0, this.disk.length)], vm: aVm },
    };
    const { bytes, sha256 } = encodeManifest(manifest, writer.keys);
    await catalogue.bindManifest(request, sha256);
    await putBytes(writer.store, writer.names.manifest(cycle), bytes);
    const names = segments.map((segment) => segment.sha256);
    const point = await catalogue.commit({ ...request, manifest, manifestSha256: sha256, segments: names });
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

  open({ root, indexes, replacements }: ResolvedView, store = this.writer.store): Promise<ChainView> {
    const { keys } = this.writer;
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
    for await (const { sizeBytes } of this.writer.store.list(this.writer.names.prefix + under)) {
      sum.count += 1;
      sum.bytes += sizeBytes;
    }
    return sum;
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
      if (!isZero) changes.push({ disk: 0, block, mask, plaintext });
      else if (before !== undefined && 'zeroCount' in before && before.block + before.zeroCount === block)
        changes[changes.length - 1] = { ...before, zeroCount: before.zeroCount + 1 };
      else changes.push({ disk: 0, block, zeroCount: 1 });
    }
    return changes;
  }

  #grain(at: number): Buffer {
    const grain = Buffer.alloc(GRAIN_BYTES);
    if (at < this.disk.length) this.disk.copy(grain, 0, at, at + GRAIN_BYTES);
    return grain;
  }
}
