import fc from 'fast-check';
import { newId, type BranchId } from '#libs/kernel';
import type { ManifestRef } from '../index.js';
import { BLOCK_BYTES, FULL_MASK, GRAIN_BYTES, GRAINS_PER_BLOCK } from '../limits.js';
import { aDisk, ChainWriter, type Change } from './chain-writer.js';

const SECTOR_BYTES = 512;
const DISK_BLOCKS_MAX = 12;

/** What the plain disks would have been at a point. */
export interface Snapshot {
  readonly ref: ManifestRef;
  readonly parent: number | null;
  readonly disks: ReadonlyMap<number, Buffer>;
}

/**
 * A machine of plain buffers that is written at random and committed to a real chain now and then.
 * The chain must give back what the buffers held, at every point, whatever happened in between.
 */
export class ChainModel {
  readonly writer = new ChainWriter();
  readonly snapshots: Snapshot[] = [];
  #disks = new Map<number, Buffer>();
  /** Grains changed since the head, by disk. */
  #dirty = new Map<number, Set<number>>();
  #branchId: BranchId = this.writer.branchId;
  #generation = 1;
  #head: number | null = null;
  #nextOrdinal = 0;

  addDisk(sectors: number): void {
    if (this.#disks.size >= 3) return;
    this.#disks.set(this.#nextOrdinal, Buffer.alloc(sectors * SECTOR_BYTES));
    this.#dirty.set(this.#nextOrdinal, new Set());
    this.#nextOrdinal += 1;
  }

  removeDisk(pick: number): void {
    const ordinal = this.#pick(pick);
    if (ordinal === undefined) return;
    this.#disks.delete(ordinal);
    this.#dirty.delete(ordinal);
  }

  write(pick: number, at: number, length: number, value: number): void {
    const ordinal = this.#pick(pick);
    if (ordinal === undefined) return;
    const disk = this.#disks.get(ordinal)!;
    const start = at % disk.length;
    const end = Math.min(disk.length, start + length);
    for (let index = start; index < end; index += 1) disk[index] = value === 0 ? 0 : (index * value + (index >> 9)) & 0xff;
    this.#touch(ordinal, start, end);
  }

  resize(pick: number, sectors: number): void {
    const ordinal = this.#pick(pick);
    if (ordinal === undefined) return;
    const before = this.#disks.get(ordinal)!;
    const after = Buffer.alloc(sectors * SECTOR_BYTES);
    before.copy(after);
    this.#disks.set(ordinal, after);
    // A shrinking cycle carries zeros from the new end to the old one.
    if (after.length < before.length) this.#touch(ordinal, after.length, before.length);
  }

  async commit(kind: 'point' | 'staging', mode: 'plain' | 'failed' | 'resumed', useZeroRuns: boolean): Promise<void> {
    const changes = this.#changes(useZeroRuns, mode !== 'plain');
    const generation = this.#generation;
    const disks = [...this.#disks].map(([ordinal, { length }]) => aDisk(ordinal, length));
    const parent = this.#head === null ? null : this.snapshots[this.#head]!.ref;
    const toWrite = { parent, disks, changes, kind, branchId: this.#branchId, generation, splitAt: (index: number) => index % 3 === 2 };
    const { writer } = this;
    let cycle = writer.nextCycle();
    if (mode === 'failed') {
      await writer.upload(writer.seal(cycle, toWrite));
      cycle = writer.nextCycle();
    }
    let ref: ManifestRef;
    if (mode === 'resumed') {
      // Half of it was durable when the agent was lost; another builder seals the rest.
      const half = changes.length >> 1;
      const first = writer.seal(cycle, { ...toWrite, changes: changes.slice(0, half) });
      const rest = writer.seal(cycle, { ...toWrite, changes: changes.slice(half) });
      await writer.upload([...first, ...rest]);
      ref = await writer.commitSegments(toWrite, cycle, [...rest, ...first]);
    } else {
      ref = await writer.commit(toWrite, cycle);
    }
    const copies = new Map([...this.#disks].map(([ordinal, disk]) => [ordinal, Buffer.from(disk)]));
    this.snapshots.push({ ref, parent: this.#head, disks: copies });
    this.#head = this.snapshots.length - 1;
    for (const grains of this.#dirty.values()) grains.clear();
  }

  /** Goes on from an older point, as a failover does. */
  branch(pick: number): void {
    if (this.snapshots.length === 0) return;
    this.#head = pick % this.snapshots.length;
    const { disks } = this.snapshots[this.#head]!;
    this.#disks = new Map([...disks].map(([ordinal, disk]) => [ordinal, Buffer.from(disk)]));
    this.#dirty = new Map([...disks.keys()].map((ordinal) => [ordinal, new Set()]));
    this.#branchId = newId<BranchId>();
    this.#generation = 2;
  }

  /** The snapshots from one of them to the root of its path. */
  ancestry(index: number): Snapshot[] {
    const path: Snapshot[] = [];
    for (let at: number | null = index; at !== null; at = this.snapshots[at]!.parent) path.push(this.snapshots[at]!);
    return path;
  }

  #pick(pick: number): number | undefined {
    const ordinals = [...this.#disks.keys()];
    return ordinals[pick % Math.max(1, ordinals.length)];
  }

  #touch(ordinal: number, start: number, end: number): void {
    for (let grain = Math.floor(start / GRAIN_BYTES); grain * GRAIN_BYTES < end; grain += 1) this.#dirty.get(ordinal)!.add(grain);
  }

  #changes(useZeroRuns: boolean, carriesBehindEnd: boolean): Change[] {
    const changes: Change[] = [];
    for (const [disk, grains] of this.#dirty) {
      const masks = new Map<number, number>();
      const { length } = this.#disks.get(disk)!;
      for (const grain of grains) {
        // Behind the end they may be left out if the disk is still short: its size says the same.
        if (!carriesBehindEnd && grain * GRAIN_BYTES >= length) continue;
        const block = Math.floor(grain / GRAINS_PER_BLOCK);
        masks.set(block, (masks.get(block) ?? 0) | (1 << (grain % GRAINS_PER_BLOCK)));
      }
      for (const [block, mask] of [...masks].sort(([a], [b]) => a - b)) {
        const plaintext = this.#grainsOf(disk, block, mask);
        const before = changes.at(-1);
        const isZero = useZeroRuns && mask === FULL_MASK && plaintext.every((byte) => byte === 0);
        if (!isZero) changes.push({ disk, block, mask, plaintext });
        else if (before !== undefined && 'zeroCount' in before && before.disk === disk && before.block + before.zeroCount === block) {
          changes[changes.length - 1] = { ...before, zeroCount: before.zeroCount + 1 };
        } else changes.push({ disk, block, zeroCount: 1 });
      }
    }
    return changes;
  }

  #grainsOf(ordinal: number, block: number, mask: number): Buffer {
    const disk = this.#disks.get(ordinal)!;
    const grains: Buffer[] = [];
    for (let grain = 0; grain < GRAINS_PER_BLOCK; grain += 1) {
      if (((mask >> grain) & 1) === 0) continue;
      const bytes = Buffer.alloc(GRAIN_BYTES);
      const at = block * BLOCK_BYTES + grain * GRAIN_BYTES;
      if (at < disk.length) disk.copy(bytes, 0, at, at + GRAIN_BYTES);
      grains.push(bytes);
    }
    return Buffer.concat(grains);
  }
}

const pick = fc.nat({ max: 100 });
const sectors = fc.integer({ min: 1, max: (DISK_BLOCKS_MAX * BLOCK_BYTES) / SECTOR_BYTES });
const write = fc.tuple(pick, fc.nat({ max: DISK_BLOCKS_MAX * BLOCK_BYTES }), fc.integer({ min: 1, max: 200_000 }), fc.nat({ max: 7 }));
const commit = fc.tuple(
  fc.constantFrom('point' as const, 'staging' as const),
  fc.constantFrom('plain' as const, 'failed' as const, 'resumed' as const),
  fc.boolean(),
);
export type Step = (model: ChainModel) => void | Promise<void>;
export const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 1, arbitrary: sectors.map((count) => (model: ChainModel) => model.addDisk(count)) },
  { weight: 1, arbitrary: pick.map((which) => (model: ChainModel) => model.removeDisk(which)) },
  { weight: 8, arbitrary: write.map((words) => (model: ChainModel) => model.write(...words)) },
  { weight: 2, arbitrary: fc.tuple(pick, sectors).map((words) => (model: ChainModel) => model.resize(...words)) },
  { weight: 4, arbitrary: commit.map((words) => (model: ChainModel) => model.commit(...words)) },
  { weight: 1, arbitrary: pick.map((which) => (model: ChainModel) => model.branch(which)) },
);
