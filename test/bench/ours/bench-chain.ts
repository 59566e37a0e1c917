import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import {
  BLOCK_BYTES,
  ChainKeys,
  cycleNumber,
  encodeListPage,
  encodeManifest,
  ObjectNames,
  openView,
  paginate,
  referenceTo,
  rsaUnwrapper,
  type ChainView,
  type ListEntry,
  type Manifest,
  type ManifestDisk,
  type ManifestRef,
} from '#libs/chain';
import { newId, type BranchId, type ChainId, type TenantId } from '#libs/kernel';
import { putBytes, type ObjectStore } from '#libs/object-store';
import type { OpenPointOptions } from '#libs/replica-node';
import type { SourceDisk, SourceExtent } from '#libs/primary';
import { DiskSealer } from '../../../libs/primary/testing/seal-disks.js';
import { grantKeys, SMALL_VM } from '../../support/sealed-chain.js';

const GENERATION = 1;

/** A chain with one disk, written as agent and receiver do, without network and database between them. */
export class BenchChain {
  readonly tenantId = newId<TenantId>();
  readonly chainId = newId<ChainId>();
  readonly branchId = newId<BranchId>();
  readonly names = new ObjectNames(this.tenantId, this.chainId);
  readonly keys = new ChainKeys({
    chainId: this.chainId,
    fingerprintKey: randomBytes(32),
    dataKeys: new Map([[GENERATION, randomBytes(32)]]),
  });
  /** Oldest first. */
  readonly points: ManifestRef[] = [];

  constructor(
    readonly store: ObjectStore,
    readonly sizeBytes: number,
    private readonly sealer = new DiskSealer(),
  ) {}

  get head(): ManifestRef | null {
    return this.points.at(-1) ?? null;
  }

  nextCycle(): bigint {
    return cycleNumber(1, this.points.length + 1);
  }

  /** Seals what the agent would read of a raw image: all of it, or the blocks of a delta. */
  async addImage(path: string, blocks: readonly number[] | null = null): Promise<ManifestRef> {
    const file = await open(path, 'r');
    const { sizeBytes } = this;
    const disk: SourceDisk = {
      ordinal: 0,
      sizeBytes,
      uri: null,
      extents: () => extentsOf(blocks, sizeBytes),
      readInto: async (offset, target) => void (await file.read(target, 0, target.length, offset)),
    };
    try {
      return await this.addDisk(disk);
    } finally {
      await file.close();
    }
  }

  async addDisk(disk: SourceDisk): Promise<ManifestRef> {
    const { chainId, keys, store, names } = this;
    const cycle = this.nextCycle();
    const seal = { chainId, cycle, generation: GENERATION, dataKey: keys.dataKey(GENERATION), fingerprintKey: keys.fingerprintKey };
    const put = async (sha256: string, bytes: Uint8Array): Promise<void> =>
      void (await store.put(names.segment(sha256), bytes, { sha256, sizeBytes: bytes.length }));
    return this.commit(await this.sealer.seal({ seal, disks: [disk], put }));
  }

  /** List pages and manifest of the next point. */
  async commit(segments: readonly ListEntry[]): Promise<ManifestRef> {
    const { chainId, branchId, store, names, keys } = this;
    const cycle = this.nextCycle();
    const lists = [];
    for (const page of paginate(chainId, cycle, segments)) {
      const { bytes, sha256 } = encodeListPage(page);
      await putBytes(store, names.list(sha256), bytes);
      lists.push({ sha256, entryCount: page.entries.length });
    }
    const manifest: Manifest = {
      kind: 'point',
      chainId,
      branchId,
      sequence: this.points.length,
      cycle,
      epoch: { incarnation: 1, counter: 1 },
      keyGeneration: GENERATION,
      parent: this.head,
      instant: new Date(Date.UTC(2026, 0, 1) + this.points.length * 60_000).toISOString(),
      consistency: 'crash',
      disks: [diskOf(this.sizeBytes)],
      vm: SMALL_VM,
      lists,
    };
    const { bytes, sha256 } = encodeManifest(manifest, keys);
    const ref = referenceTo(manifest, sha256);
    await putBytes(store, names.manifest(ref), bytes);
    this.points.push(ref);
    return ref;
  }

  /** The newest point. */
  open(threads = 0): Promise<ChainView> {
    const { tenantId, chainId, keys, store } = this;
    return openView({ store, tenantId, chainId, head: this.head!, keys, threads });
  }

  /** What a replica node is given to open the newest point. */
  pointOptions(): OpenPointOptions {
    const { tenantId, chainId, keys, store } = this;
    const head = this.head!;
    const readerKey = generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey;
    const granted = grantKeys(keys, GENERATION, readerKey);
    return {
      source: { tenantId, chainId, point: { ...head, cycle: head.cycle.toString() }, keys: granted },
      store,
      unwrap: rsaUnwrapper(readerKey),
    };
  }

  async storedBytes(): Promise<number> {
    let sum = 0;
    for await (const { sizeBytes } of this.store.list(this.names.prefix)) sum += sizeBytes;
    return sum;
  }

  close(): Promise<void> {
    return this.sealer.close();
  }
}

function diskOf(sizeBytes: number): ManifestDisk {
  return { ordinal: 0, sizeBytes, name: 'disk-0', bus: 'virtio', bootOrder: 1 };
}

async function* extentsOf(blocks: readonly number[] | null, sizeBytes: number): AsyncGenerator<SourceExtent> {
  if (blocks === null) yield { offset: 0, length: sizeBytes, zero: false };
  else for (const block of blocks) yield { offset: block * BLOCK_BYTES, length: BLOCK_BYTES, zero: false };
}
