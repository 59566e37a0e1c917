import { createPublicKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import { open } from 'node:fs/promises';
import {
  BLOCK_BYTES,
  ChainKeys,
  cycleNumber,
  encodeListPage,
  encodeManifest,
  FULL_MASK,
  ObjectNames,
  paginate,
  referenceTo,
  rsaUnwrapper,
  SegmentBuilder,
  wrapKey,
  type KeyUnwrapper,
  type ListEntry,
  type Manifest,
  type ManifestDisk,
  type ManifestRef,
  type VmDefinition,
} from '#libs/chain';
import type { PointSource } from '#libs/contracts/commands';
import { newId, type BranchId, type ChainId, type TenantId } from '#libs/kernel';
import { putBytes, type ObjectStore } from '#libs/object-store';

/** A block of 64 KiB, or null where it became zero. */
export type ChangedBlock = readonly [block: number, bytes: Buffer | null];

export interface PointDisk extends ManifestDisk {
  /** Ascending. */
  readonly changes: Iterable<ChangedBlock> | AsyncIterable<ChangedBlock>;
}

export const SMALL_VM: VmDefinition = {
  name: 'ledger',
  machine: 'pc',
  cpuCount: 1,
  cpuModel: 'max',
  memoryBytes: 256 * 1024 * 1024,
  firmware: 'bios',
  secureBoot: false,
  clock: 'utc',
  adapters: [{ name: 'net0', macAddress: '52:54:00:00:00:01', model: 'virtio-net', network: 'lan', bootOrder: null }],
  nvramBytes: 0,
  tpmBytes: 0,
};

const GENERATION = 1;
const TARGET_BYTES = 4 * 1024 * 1024;

/** A chain in a store, written as an agent would, with a grant of its keys to one reader. */
export class SealedChain {
  readonly tenantId = newId<TenantId>();
  readonly chainId = newId<ChainId>();
  readonly keys: ChainKeys;
  /** The reader's. */
  readonly unwrap: KeyUnwrapper;
  readonly readerKey: KeyObject;
  readonly names: ObjectNames;
  head: ManifestRef | null = null;
  readonly #grant: PointSource['keys'];
  readonly #branchId = newId<BranchId>();

  /** For a new reader, or for one that another chain has. */
  constructor(
    private readonly store: ObjectStore,
    readerKey: KeyObject = generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey,
  ) {
    const [dataKey, fingerprintKey] = [randomBytes(32), randomBytes(32)];
    this.keys = new ChainKeys({ chainId: this.chainId, fingerprintKey, dataKeys: new Map([[GENERATION, dataKey]]) });
    this.names = new ObjectNames(this.tenantId, this.chainId);
    this.readerKey = readerKey;
    this.unwrap = rsaUnwrapper(readerKey);
    this.#grant = grantKeys(this.keys, GENERATION, readerKey);
  }

  /** Seals what changed, stores it with its manifest, and returns the new head. */
  async addPoint(disks: readonly PointDisk[], vm: VmDefinition = SMALL_VM): Promise<ManifestRef> {
    const parent = this.head;
    const sequence = parent === null ? 0 : parent.sequence + 1;
    const cycle = cycleNumber(1, sequence + 1);
    const entries = await this.#seal(disks, cycle);
    const lists = [];
    for (const page of paginate(this.chainId, cycle, entries)) {
      const { bytes, sha256 } = encodeListPage(page);
      await putBytes(this.store, this.names.list(sha256), bytes);
      lists.push({ sha256, entryCount: page.entries.length });
    }
    const manifest: Manifest = {
      kind: 'point',
      chainId: this.chainId,
      branchId: this.#branchId,
      sequence,
      cycle,
      epoch: { incarnation: 1, counter: 1 },
      keyGeneration: GENERATION,
      parent,
      instant: new Date(Date.UTC(2026, 2, 1, 12, sequence)).toISOString(),
      consistency: 'crash',
      disks: disks.map(({ changes: _, ...disk }) => disk),
      vm,
      lists,
    };
    const { bytes, sha256 } = encodeManifest(manifest, this.keys);
    this.head = referenceTo(manifest, sha256);
    await putBytes(this.store, this.names.manifest(this.head), bytes);
    return this.head;
  }

  /** What a command would carry. */
  source(point: ManifestRef = this.head!): PointSource {
    const { tenantId, chainId } = this;
    return { tenantId, chainId, point: { ...point, cycle: point.cycle.toString() }, keys: this.#grant };
  }

  async #seal(disks: readonly PointDisk[], cycle: bigint): Promise<ListEntry[]> {
    const entries: ListEntry[] = [];
    let builder: SegmentBuilder | null = null;
    const flush = async (): Promise<void> => {
      if (builder === null) return;
      const { bytes, ...entry } = builder.finish();
      await putBytes(this.store, this.names.segment(entry.sha256), bytes);
      entries.push(entry);
      builder = null;
    };
    for (const { ordinal, changes } of disks) {
      for await (const [block, bytes] of changes) {
        builder ??= this.#builder(cycle);
        if (bytes === null) builder.addZeroRun(ordinal, block, 1);
        else builder.add(ordinal, block, FULL_MASK, bytes);
        if (builder.isFull) await flush();
      }
    }
    await flush();
    return entries;
  }

  #builder(cycle: bigint): SegmentBuilder {
    const { chainId, keys } = this;
    const dataKey = keys.dataKey(GENERATION);
    return new SegmentBuilder({
      chainId,
      cycle,
      generation: GENERATION,
      dataKey,
      fingerprintKey: keys.fingerprintKey,
      targetBytes: TARGET_BYTES,
    });
  }
}

/** What lets a reader open the chain: its keys, wrapped to the reader's own. */
export function grantKeys(keys: ChainKeys, generation: number, readerKey: KeyObject): PointSource['keys'] {
  const { chainId, fingerprintKey } = keys;
  const recipientKey = createPublicKey(readerKey);
  const writerKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const wrapped = (kind: 'data' | 'fingerprint', generation: number, key: Buffer) => ({
    kind,
    generation,
    wrapped: wrapKey({ chainId, kind, generation, key, recipientKey, writerKey }).object.wrapped.toString('base64'),
  });
  return [wrapped('data', generation, keys.dataKey(generation)), wrapped('fingerprint', 0, fingerprintKey)];
}

/** Every block of a raw image that is not zero. */
export async function* blocksOfFile(path: string): AsyncGenerator<ChangedBlock> {
  const zeros = Buffer.alloc(BLOCK_BYTES);
  const file = await open(path, 'r');
  try {
    for (let block = 0; ; block += 1) {
      const bytes = Buffer.alloc(BLOCK_BYTES);
      const { bytesRead } = await file.read(bytes, 0, BLOCK_BYTES, block * BLOCK_BYTES);
      if (bytesRead === 0) return;
      if (!bytes.equals(zeros)) yield [block, bytes];
    }
  } finally {
    await file.close();
  }
}
