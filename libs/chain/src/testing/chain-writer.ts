import { randomBytes } from 'node:crypto';
import { newId, type BranchId, type ChainId, type TenantId } from '#libs/kernel';
import { MemoryObjectStore, putBytes, type ObjectStore } from '#libs/object-store';
import {
  ChainKeys,
  cycleNumber,
  encodeListPage,
  encodeManifest,
  ObjectNames,
  openView,
  paginate,
  referenceTo,
  SegmentBuilder,
  type BuiltSegment,
  type ChainView,
  type Manifest,
  type ManifestDisk,
  type ManifestKind,
  type ManifestRef,
  type VmDefinition,
} from '../index.js';

/** One block's change, or a run of zero blocks. */
export type Change =
  | { readonly disk: number; readonly block: number; readonly mask: number; readonly plaintext: Uint8Array }
  | { readonly disk: number; readonly block: number; readonly zeroCount: number };

export interface CycleToWrite {
  readonly parent: ManifestRef | null;
  readonly disks: readonly ManifestDisk[];
  /** Ascending by disk and block. */
  readonly changes: readonly Change[];
  readonly kind?: ManifestKind;
  readonly branchId?: BranchId;
  readonly generation?: number;
  readonly vm?: Partial<VmDefinition>;
  /** Pages that are listed before the cycle's own. */
  readonly lists?: Manifest['lists'];
  /** Changes at which a new segment begins, beside those that are full. */
  readonly splitAt?: (index: number) => boolean;
}

export const aVm: VmDefinition = {
  name: 'web-1',
  machine: 'q35',
  cpuCount: 2,
  cpuModel: 'host',
  memoryBytes: 2 ** 31,
  firmware: 'uefi',
  secureBoot: true,
  clock: 'utc',
  adapters: [{ name: 'net0', macAddress: '52:54:00:12:34:56', model: 'virtio', network: 'lan', bootOrder: null }],
  nvramBytes: 0,
  tpmBytes: 0,
};

export function aDisk(ordinal: number, sizeBytes: number): ManifestDisk {
  return { ordinal, sizeBytes, name: `disk-${ordinal}`, bus: 'virtio', bootOrder: ordinal + 1 };
}

/** Does what an agent and a receiver do together to make a point, without either: for tests. */
export class ChainWriter {
  readonly tenantId = newId<TenantId>();
  readonly chainId = newId<ChainId>();
  readonly branchId = newId<BranchId>();
  readonly names = new ObjectNames(this.tenantId, this.chainId);
  readonly keys = new ChainKeys({
    chainId: this.chainId,
    fingerprintKey: randomBytes(32),
    dataKeys: new Map([
      [1, randomBytes(32)],
      [2, randomBytes(32)],
    ]),
  });
  #counter = 0;

  constructor(readonly store: ObjectStore = new MemoryObjectStore()) {}

  /** A number for one attempt. */
  nextCycle(): bigint {
    this.#counter += 1;
    return cycleNumber(1, this.#counter);
  }

  seal(cycle: bigint, toWrite: Pick<CycleToWrite, 'changes' | 'generation' | 'splitAt'>): BuiltSegment[] {
    const { changes, generation = 1, splitAt = () => false } = toWrite;
    const built: BuiltSegment[] = [];
    let builder = this.builder(cycle, generation);
    for (const [index, change] of changes.entries()) {
      if (builder.isFull || (splitAt(index) && !builder.isEmpty)) {
        built.push(builder.finish());
        builder = this.builder(cycle, generation);
      }
      if ('plaintext' in change) builder.add(change.disk, change.block, change.mask, change.plaintext);
      else builder.addZeroRun(change.disk, change.block, change.zeroCount);
    }
    if (!builder.isEmpty) built.push(builder.finish());
    return built;
  }

  builder(cycle: bigint, generation = 1, targetBytes = 64 * 1024): SegmentBuilder {
    const { chainId } = this;
    const { fingerprintKey } = this.keys;
    return new SegmentBuilder({ chainId, cycle, generation, dataKey: this.keys.dataKey(generation), fingerprintKey, targetBytes });
  }

  async upload(segments: readonly BuiltSegment[]): Promise<void> {
    for (const { sha256, bytes } of segments) await putBytes(this.store, this.names.segment(sha256), bytes);
  }

  /** Seals, uploads and lists the changes, and writes the manifest. */
  async commit(toWrite: CycleToWrite, cycle = this.nextCycle()): Promise<ManifestRef> {
    const segments = this.seal(cycle, toWrite);
    await this.upload(segments);
    return this.commitSegments(toWrite, cycle, segments);
  }

  async commitSegments(toWrite: Omit<CycleToWrite, 'changes'>, cycle: bigint, segments: readonly BuiltSegment[]): Promise<ManifestRef> {
    const { parent, disks, kind = 'point', branchId = this.branchId, generation = 1, vm = {} } = toWrite;
    const { chainId } = this;
    const pages = paginate(chainId, cycle, segments);
    const lists = [...(toWrite.lists ?? [])];
    for (const page of pages) {
      const { bytes, sha256 } = encodeListPage(page);
      await putBytes(this.store, this.names.list(sha256), bytes);
      lists.push({ sha256, entryCount: page.entries.length });
    }
    const manifest: Manifest = {
      kind,
      chainId,
      branchId,
      sequence: parent === null ? 0 : parent.sequence + 1,
      cycle,
      epoch: { incarnation: 1, counter: 1 },
      keyGeneration: generation,
      parent,
      instant: '2026-03-01T12:00:00.000Z',
      consistency: 'crash',
      disks,
      vm: { ...aVm, ...vm },
      lists,
    };
    const { bytes, sha256 } = encodeManifest(manifest, this.keys);
    const ref = referenceTo(manifest, sha256);
    await putBytes(this.store, this.names.manifest(ref), bytes);
    return ref;
  }

  open(head: ManifestRef, store = this.store): Promise<ChainView> {
    const { tenantId, chainId, keys } = this;
    return openView({ store, tenantId, chainId, head, keys });
  }
}
