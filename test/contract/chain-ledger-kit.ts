import { afterAll, beforeAll, beforeEach } from 'vitest';
import { newId } from '#libs/kernel';
import type {
  ChainLedger,
  CommittedPoint,
  CycleState,
  IndexEntry,
  ListEntry,
  ManifestKind,
  NewChain,
  SweepLimits,
  Switch,
  Writer,
} from '#libs/chain';
import { hash, prepareCommit, segmentAt, type CatalogueHarness } from './replica-catalogue-kit.js';

export interface LedgerHarness extends Omit<CatalogueHarness, 'deny' | 'changeTag' | 'doomSegment'> {
  readonly ledger: ChainLedger;
  /** Everything noted of this chain is that much older from now on. */
  passTime(chain: NewChain, ms: number): Promise<void>;
  /** The word of two operators for the sweep of this digest; false when another is held by now. */
  approveSweep(chain: NewChain, digest: string): Promise<boolean>;
  /** What retention does. */
  deletePoint(point: CommittedPoint): Promise<void>;
}

export const GRACE_MS = 24 * 3_600_000;
export const LIMITS: SweepLimits = { graceMs: GRACE_MS, windowMs: 3_600_000, bytesShareMax: 0.05, freeBytes: 2 ** 30, objectsMax: 100 };
export const CONFLICT = { code: 'maintenance.conflict' };
export const NAME_TAKEN = { code: 'maintenance.name-taken' };

/** A fresh chain for each test, and what tests do with it. */
export function arrangeLedger(makeHarness: () => Promise<LedgerHarness>) {
  let harness: LedgerHarness;
  let ledger: ChainLedger;
  let chain: NewChain;
  let writer: Writer;
  let blocks = 0;

  beforeAll(async () => {
    harness = await makeHarness();
    ledger = harness.ledger;
  });
  afterAll(() => harness?.close());
  beforeEach(async () => {
    chain = await harness.newChain();
    writer = { id: newId(), tag: chain.tag };
    await harness.catalogue.createChain(chain);
    await harness.catalogue.recordKey({ ...chain, writer, generation: 1, kind: 'data', recipient: hash('tenant') });
    await harness.catalogue.recordKey({ ...chain, writer, generation: 0, kind: 'fingerprint', recipient: hash('tenant') });
  });

  const open = async (kind: ManifestKind = 'point'): Promise<CycleState> => {
    const { epoch, head } = await harness.catalogue.chain(chain);
    return harness.catalogue.openCycle({ ...chain, writer, epoch, kind, parent: head?.sha256 ?? null });
  };
  /** Commits a cycle of one segment of its own. */
  const commitOpened = async (cycle: CycleState, sizeBytes?: number): Promise<{ point: CommittedPoint; segment: string }> => {
    blocks += 20;
    const segment = { ...segmentAt(blocks), ...(sizeBytes === undefined ? {} : { sizeBytes }) };
    const point = await harness.catalogue.commit(await prepareCommit(harness.catalogue, writer, cycle, [segment], {}));
    return { point, segment: segment.sha256 };
  };
  const commit = async (kind: ManifestKind = 'point', sizeBytes?: number): Promise<{ point: CommittedPoint; segment: string }> =>
    commitOpened(await open(kind), sizeBytes);
  const entry = (text: string): ListEntry => {
    const { generations: _generations, ...listed } = segmentAt(0);
    return { ...listed, sha256: hash(text), footerSha256: hash(`footer ${text}`) };
  };
  const indexOf = (text: string, { ref }: CommittedPoint, parts: string[] = []): IndexEntry => ({
    sha256: hash(text),
    sizeBytes: 500,
    first: 0,
    last: ref.sequence,
    lastCycle: ref.cycle,
    branchId: ref.branchId,
    bytes: 700,
    parts: parts.map(hash),
  });
  const holdAll = async (names: readonly string[]): Promise<void> => {
    for (const one of names) await ledger.hold(chain, one, 60_000);
  };
  /** A switch of these segments to one new one; nothing is written, only told. */
  const switchOf = async (segments: readonly string[], to: string | null, changes: Partial<Switch> = {}): Promise<Switch> => {
    const { revision, snapshot, indexes } = await ledger.read(chain);
    const document = { sequence: (snapshot?.sequence ?? 0) + 1, sha256: hash(`snapshot ${newId()}`), since: 1 };
    await ledger.hold(chain, `v/${String(document.sequence).padStart(10, '0')}-${document.sha256}`, 60_000);
    if (to !== null) await ledger.hold(chain, `s/${hash(to)}`, 60_000);
    return {
      revision,
      segments: to === null ? [] : [entry(to)],
      buckets: [],
      counts: [],
      replacements: segments.map((segment) => ({ segment, by: to === null ? [] : [hash(to)] })),
      dropIndexes: [],
      addIndexes: [],
      knownIndexes: indexes.map(({ sha256 }) => sha256),
      snapshot: [document],
      writtenBytes: 1000,
      ...changes,
    };
  };
  const condemned = async (): Promise<string[]> => (await ledger.condemn(chain, LIMITS)).map((object) => object.name).sort();
  const current = () => ({ harness, ledger, chain, writer, block: blocks });
  return { current, open, commit, commitOpened, entry, indexOf, holdAll, switchOf, condemned };
}
