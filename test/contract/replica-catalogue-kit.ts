import { newId, type BranchId, type ChainId } from '#libs/kernel';
import type { CommitCycle, CycleState, ListEntry, Manifest, NewChain, ReplicaCatalogue, Writer } from '#libs/chain';

/** What the suite needs around a catalogue: the rows it stands on, and the events that come from elsewhere. */
export interface CatalogueHarness {
  readonly catalogue: ReplicaCatalogue;
  /** A chain that can be created: tenant and relationship exist, the chain does not. Its tag is `tag-a`. */
  newChain(): Promise<NewChain>;
  /** Lets every lease of the chain run out. */
  expireLeases(chain: NewChain): Promise<void>;
  /** Revokes a writer. Commits are refused from then on, with any error. */
  deny(writer: Writer): Promise<void>;
  changeTag(chain: NewChain, tag: string): Promise<void>;
  doomSegment(chain: NewChain, sha256: string): Promise<void>;
  close(): Promise<void>;
}

export const hash = (text: string): string => Buffer.from(text.padEnd(32, '.')).toString('hex').slice(0, 64);

/** A segment of the first key generation that covers `blocks` blocks of disk 0 from `block` on. */
export function segmentAt(block: number, blocks = 10): ListEntry & { generations: number[] } {
  return {
    sha256: hash(`segment ${block} ${blocks}`),
    sizeBytes: 4096,
    footerBytes: 200,
    footerSha256: hash(`footer ${block} ${blocks}`),
    recordCount: 1,
    plainBytes: 4096,
    first: { disk: 0, block },
    last: { disk: 0, block: block + blocks - 1 },
    generations: [1],
  };
}

export function manifestOf(cycle: CycleState, segmentCount: number, changes: Partial<Manifest> = {}): Manifest {
  const { kind, chainId, branchId, sequence, epoch, parent } = cycle;
  return {
    kind,
    chainId,
    branchId,
    sequence,
    cycle: cycle.cycle,
    epoch,
    parent,
    keyGeneration: 1,
    instant: '2026-03-01T12:00:00.000Z',
    consistency: 'crash',
    disks: [{ ordinal: 0, sizeBytes: 1 << 30, name: 'system', bus: 'virtio', bootOrder: 1 }],
    vm: {
      name: 'web-1',
      machine: 'q35',
      cpuCount: 2,
      cpuModel: 'host',
      memoryBytes: 1 << 30,
      firmware: 'uefi',
      secureBoot: true,
      clock: 'utc',
      adapters: [],
      nvramBytes: 0,
      tpmBytes: 0,
    },
    lists: segmentCount === 0 ? [] : [{ sha256: hash('list'), entryCount: segmentCount }],
    ...changes,
  };
}

/** How a request was refused; empty when it was not. */
export async function refusal(promise: Promise<unknown>): Promise<{ code?: string; details?: Record<string, unknown> }> {
  return promise.then(
    () => ({}),
    (error: unknown) => error as { code: string; details: Record<string, unknown> },
  );
}

/** What a manifest may say otherwise than its cycle. */
export const MISMATCHES: readonly [string, Partial<Manifest>][] = [
  ['kind', { kind: 'staging' }],
  ['sequence', { sequence: 5 }],
  ['branchId', { branchId: newId<BranchId>() }],
  ['chainId', { chainId: newId<ChainId>() }],
  ['cycle', { cycle: 77n }],
  ['epoch', { epoch: { incarnation: 1, counter: 999 } }],
  ['parent', { parent: { branchId: newId<BranchId>(), sequence: 0, cycle: 1n, sha256: hash('x'), path: hash('y') } }],
];

/** Everything up to the commit itself, which is returned. */
export async function prepareCommit(
  catalogue: ReplicaCatalogue,
  writer: Writer,
  cycle: CycleState,
  segments: ReturnType<typeof segmentAt>[],
  changes: Partial<Manifest>,
): Promise<CommitCycle> {
  const request = { tenantId: cycle.tenantId, cycle: cycle.cycle, writer };
  for (const segment of segments) await catalogue.recordSegment(request, segment);
  const manifest = manifestOf(cycle, segments.length, changes);
  for (const list of manifest.lists) await catalogue.recordList(request, list);
  const manifestSha256 = hash(`manifest ${cycle.cycle}`);
  await catalogue.bindManifest(request, manifestSha256);
  return { ...request, manifest, manifestSha256, segments: segments.map(({ sha256 }) => sha256) };
}
