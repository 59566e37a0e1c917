import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { newId, type BranchId } from '#libs/kernel';
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
import { hash, prepareCommit, refusal, segmentAt, type CatalogueHarness } from './replica-catalogue-kit.js';

export interface LedgerHarness extends Omit<CatalogueHarness, 'deny' | 'changeTag' | 'doomSegment'> {
  readonly ledger: ChainLedger;
  /** Everything noted of this chain is that much older from now on. */
  passTime(chain: NewChain, ms: number): Promise<void>;
  /** What retention does. */
  deletePoint(point: CommittedPoint): Promise<void>;
}

const GRACE_MS = 24 * 3_600_000;
const LIMITS: SweepLimits = { graceMs: GRACE_MS, bytesShareMax: 0.05, freeBytes: 2 ** 30, objectsMax: 100 };
const CONFLICT = { code: 'maintenance.conflict' };

/** What every adapter of {@link ChainLedger} keeps. */
export function describeChainLedger(name: string, makeHarness: () => Promise<LedgerHarness>): void {
  describe(`ChainLedger: ${name}`, () => {
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
    });

    const open = async (kind: ManifestKind = 'point'): Promise<CycleState> => {
      const { epoch, head } = await harness.catalogue.chain(chain);
      return harness.catalogue.openCycle({ ...chain, writer, epoch, kind, parent: head?.sha256 ?? null });
    };
    /** Commits a cycle of one segment of its own. */
    const commit = async (kind: ManifestKind = 'point'): Promise<{ point: CommittedPoint; segment: string }> => {
      blocks += 20;
      const segment = segmentAt(blocks);
      const point = await harness.catalogue.commit(await prepareCommit(harness.catalogue, writer, await open(kind), [segment], {}));
      return { point, segment: segment.sha256 };
    };
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

    it('reads what was committed, and what is kept', async () => {
      const { point: first, segment } = await commit('staging');
      const { point: second } = await commit();
      const { point: third } = await commit();
      await harness.deletePoint(second);
      const reading = await ledger.read(chain);
      expect(reading).toMatchObject({ revision: 0, snapshot: null, indexes: [], buckets: [], replacements: [], writtenBytes: 0 });
      expect(reading.lineage.map(({ ref }) => ref.cycle).sort()).toEqual([first, second, third].map(({ ref }) => ref.cycle).sort());
      expect(reading.lineage.find(({ ref }) => ref.cycle === second.ref.cycle)).toEqual({ ref: second.ref, parent: first.ref });
      expect([...reading.kept]).toEqual([third.ref.cycle]);
      expect(reading.segments).toHaveLength(3);
      const { generations: _generations, ...listed } = segmentAt(blocks - 40);
      expect(reading.segments.find(({ sha256 }) => sha256 === segment)).toEqual({ ...listed, cycle: first.ref.cycle });
      expect(reading.ingestedBytes).toBe(3 * 4096);
      expect(await refusal(ledger.read({ ...chain, chainId: newId() }))).toMatchObject({ code: 'chain.not-found' });
    });

    it('keeps forks, heads of branches, and parents of open cycles', async () => {
      const { point: fork } = await commit();
      const { point: left } = await commit();
      const { epoch } = await harness.catalogue.chain(chain);
      await harness.catalogue.openBranch({ ...chain, epoch, branchId: newId<BranchId>(), frozenPoint: fork.id });
      const { point: staging } = await commit('staging');
      for (const point of [fork, left]) await harness.deletePoint(point);
      await open();
      const kept = (await ledger.read(chain)).kept;
      expect([...kept].sort()).toEqual([fork, left, staging].map(({ ref }) => ref.cycle).sort());
    });

    describe('a lease', () => {
      it('keeps a position until it is released or ends', async () => {
        const { point } = await commit();
        await commit();
        const lease = { ...chain, id: newId(), root: point.ref, holder: 'a test', ttlMs: 60_000 };
        const view = await ledger.leaseView(lease);
        expect(view).toMatchObject({ root: point.ref, indexes: [], replacements: [] });
        expect(view.expiresAt).toBeInstanceOf(Date);
        await harness.deletePoint(point);
        expect((await ledger.read(chain)).kept.has(point.ref.cycle)).toBe(true);
        await harness.passTime(chain, 60_001);
        expect((await ledger.read(chain)).kept.has(point.ref.cycle)).toBe(false);
        expect(await refusal(ledger.leaseView(lease))).toMatchObject({ code: 'point.not-found' });
      });

      it('without an end lasts until it is released', async () => {
        const { point } = await commit();
        await commit();
        const lease = { ...chain, id: newId(), root: point.ref, holder: 'a VM', ttlMs: null };
        expect((await ledger.leaseView(lease)).expiresAt).toBeNull();
        await harness.deletePoint(point);
        await harness.passTime(chain, 400 * GRACE_MS);
        expect((await ledger.read(chain)).kept.has(point.ref.cycle)).toBe(true);
        await ledger.releaseLease(chain, lease.id);
        await ledger.releaseLease(chain, lease.id);
        expect((await ledger.read(chain)).kept.has(point.ref.cycle)).toBe(false);
      });

      it('is refused for a position of another name', async () => {
        const { point } = await commit();
        const root = { ...point.ref, sha256: hash('forged') };
        expect(await refusal(ledger.leaseView({ ...chain, id: newId(), root, holder: 'a test', ttlMs: 1 }))).toMatchObject({
          code: 'point.not-found',
        });
      });

      it('keeps what was doomed since, and not what was doomed before', async () => {
        const [one, two] = [await commit(), await commit()];
        await ledger.switch(chain, await switchOf([one.segment], null));
        await harness.passTime(chain, 1_000);
        await ledger.leaseView({ ...chain, id: newId(), root: two.point.ref, holder: 'a VM', ttlMs: null });
        await harness.passTime(chain, 1_000);
        await ledger.switch(chain, await switchOf([two.segment], 'new'));
        await harness.passTime(chain, GRACE_MS);
        expect(await condemned()).toEqual([`s/${one.segment}`]);
      });
    });

    describe('a switch', () => {
      it('replaces and dooms, once', async () => {
        const [one, two] = [await commit(), await commit()];
        await ledger.recordCensus(chain, 0, { start: null, end: one.point.ref.cycle, counts: [{ segment: one.segment, liveBytes: 90 }] });
        const change = await switchOf([one.segment, two.segment], 'new', {
          buckets: [{ start: null, end: one.point.ref.cycle }],
          counts: [{ end: one.point.ref.cycle, segment: hash('new'), liveBytes: 90 }],
        });
        await ledger.switch(chain, change);
        const reading = await ledger.read(chain);
        expect(reading).toMatchObject({ revision: 1, writtenBytes: 1000, snapshot: change.snapshot[0] });
        expect(reading.segments).toEqual([{ ...entry('new'), cycle: null }]);
        expect(reading.replacements.map(({ segment }) => segment).sort()).toEqual([one.segment, two.segment].sort());
        expect(reading.replacements[0]!.by).toEqual([entry('new')]);
        expect(reading.buckets).toEqual([{ start: null, end: one.point.ref.cycle, counts: [{ segment: hash('new'), liveBytes: 90 }] }]);
        expect(await refusal(ledger.switch(chain, change))).toMatchObject(CONFLICT);
        expect(await refusal(ledger.switch(chain, { ...change, revision: 1 }))).toMatchObject(CONFLICT);
      });

      it('forgets what was counted of other buckets than its own', async () => {
        const [one, two] = [await commit(), await commit()];
        const [start, end] = [one.point.ref.cycle, two.point.ref.cycle];
        const change = await switchOf([one.segment], 'new', {
          buckets: [
            { start: null, end: start },
            { start, end },
          ],
          counts: [{ end: start, segment: hash('new'), liveBytes: 9 }],
        });
        // Another census, at the same revision, after a point had gone.
        await ledger.recordCensus(chain, 0, { start: null, end, counts: [{ segment: one.segment, liveBytes: 9 }] });
        await ledger.switch(chain, change);
        expect((await ledger.read(chain)).buckets).toEqual([]);
      });

      it('of what was compacted before is told in one step', async () => {
        const [one, two] = [await commit(), await commit()];
        await ledger.switch(chain, await switchOf([one.segment], 'once'));
        await ledger.switch(chain, await switchOf([hash('once'), two.segment], 'twice'));
        const { replacements, segments } = await ledger.read(chain);
        expect(replacements.map(({ by }) => by.map(({ sha256 }) => sha256))).toEqual([[hash('twice')], [hash('twice')]]);
        await ledger.switch(chain, await switchOf([hash('twice')], null));
        expect((await ledger.read(chain)).replacements.map(({ by }) => by)).toEqual([[], []]);
        expect(segments).toHaveLength(1);
        await harness.passTime(chain, GRACE_MS);
        expect(await condemned()).toEqual([one.segment, two.segment, hash('once'), hash('twice')].map((sha256) => `s/${sha256}`).sort());
        expect((await ledger.read(chain)).replacements).toHaveLength(2);
      });

      it('needs every object held, and leaves nothing behind when it is refused', async () => {
        const { segment } = await commit();
        const change = await switchOf([segment], 'new');
        const before = await ledger.read(chain);
        const unheld = { ...change, segments: [entry('other')], replacements: [{ segment, by: [hash('other')] }] };
        expect(await refusal(ledger.switch(chain, unheld))).toMatchObject(CONFLICT);
        expect(await ledger.read(chain)).toEqual(before);
        await ledger.switch(chain, change);
      });

      it('lets indexes go that came in meanwhile', async () => {
        const { point, segment } = await commit();
        const change = await switchOf([segment], 'new');
        await holdAll([`x/${hash('index')}`]);
        await ledger.changeIndexes(chain, { revision: 0, addIndexes: [indexOf('index', point)], dropIndexes: [], writtenBytes: 5 });
        expect((await ledger.read(chain)).indexes).toEqual([indexOf('index', point)]);
        await ledger.switch(chain, change);
        expect((await ledger.read(chain)).indexes).toEqual([]);
        await holdAll([`x/${hash('late')}`]);
        const late = { revision: 0, addIndexes: [indexOf('late', point)], dropIndexes: [], writtenBytes: 5 };
        expect(await refusal(ledger.changeIndexes(chain, late))).toMatchObject(CONFLICT);
      });

      it('gives readers the indexes and replacements of their path', async () => {
        const [one, two] = [await commit(), await commit()];
        await ledger.switch(chain, await switchOf([one.segment], 'new'));
        await holdAll([`x/${hash('index')}`]);
        const index = indexOf('index', two.point);
        await ledger.changeIndexes(chain, { revision: 1, addIndexes: [index], dropIndexes: [], writtenBytes: 5 });
        const lease = (root: CommittedPoint) =>
          ledger.leaseView({ ...chain, id: newId(), root: root.ref, holder: 'a test', ttlMs: 60_000 });
        expect((await lease(two.point)).indexes).toEqual([index]);
        expect(await lease(one.point)).toMatchObject({ indexes: [], replacements: [{ segment: one.segment, by: [entry('new')] }] });
      });
    });

    it('takes back what was doomed, and nothing that a cycle uploaded', async () => {
      const [one, two] = [await commit(), await commit()];
      await ledger.switch(chain, await switchOf([one.segment], 'once'));
      await ledger.switch(chain, await switchOf([hash('once'), two.segment], 'both'));
      await ledger.switch(chain, await switchOf([hash('both')], 'once'));
      expect((await ledger.read(chain)).segments.map(({ sha256 }) => sha256)).toEqual([hash('once')]);
      await harness.passTime(chain, GRACE_MS);
      expect(await condemned()).toEqual([one.segment, two.segment, hash('both')].map((sha256) => `s/${sha256}`).sort());
      for (const name of [one.segment, hash('both')]) {
        expect(await refusal(ledger.hold(chain, `s/${name}`, 1000))).toMatchObject({ code: 'maintenance.name-taken' });
      }
    });

    it('counts buckets anew when they join', async () => {
      const [one, two] = [await commit(), await commit()];
      const [start, end] = [one.point.ref.cycle, two.point.ref.cycle];
      await ledger.recordCensus(chain, 0, { start: null, end: start, counts: [{ segment: one.segment, liveBytes: 10 }] });
      await ledger.recordCensus(chain, 0, { start, end, counts: [{ segment: two.segment, liveBytes: 20 }] });
      expect((await ledger.read(chain)).buckets).toHaveLength(2);
      const joined = { start: null, end, counts: [{ segment: two.segment, liveBytes: 20 }] };
      await ledger.recordCensus(chain, 0, joined);
      expect((await ledger.read(chain)).buckets).toEqual([joined]);
      expect(await refusal(ledger.recordCensus(chain, 7, joined))).toMatchObject(CONFLICT);
    });

    it('takes snapshots in their order', async () => {
      const document = (sequence: number, since: number) => ({ sequence, sha256: hash(`snapshot ${sequence}`), since });
      const nameOf = (sequence: number): string => `v/${String(sequence).padStart(10, '0')}-${hash(`snapshot ${sequence}`)}`;
      expect(await refusal(ledger.recordSnapshot(chain, [document(1, 1)]))).toMatchObject(CONFLICT);
      await holdAll([1, 2, 3].map(nameOf));
      await ledger.recordSnapshot(chain, [document(1, 1), document(2, 1)]);
      expect(await refusal(ledger.recordSnapshot(chain, [document(2, 2)]))).toMatchObject(CONFLICT);
      expect(await ledger.strangersAmong(chain, [1, 2].map(nameOf))).toEqual([]);
      await ledger.recordSnapshot(chain, [document(3, 3)]);
      expect((await ledger.read(chain)).snapshot).toEqual(document(3, 3));
      expect(await ledger.strangersAmong(chain, [1, 2, 3].map(nameOf))).toEqual([1, 2].map(nameOf));
    });

    describe('an object that no row stands for', () => {
      const stray = { name: `s/${hash('stray')}`, sizeBytes: 10 };

      it('is condemned after a grace between two sightings, deleted, and forgotten a grace later', async () => {
        await ledger.sight(chain, [stray]);
        expect(await condemned()).toEqual([]);
        await harness.passTime(chain, GRACE_MS);
        expect(await condemned()).toEqual([stray.name]);
        expect(await condemned()).toEqual([stray.name]);
        expect(await refusal(ledger.hold(chain, stray.name, 1000))).toMatchObject({ code: 'maintenance.name-taken' });
        await ledger.recordDeleted(chain, [stray.name]);
        expect(await condemned()).toEqual([]);
        await ledger.purge(chain, GRACE_MS);
        expect(await refusal(ledger.hold(chain, stray.name, 1000))).toMatchObject({ code: 'maintenance.name-taken' });
        await harness.passTime(chain, GRACE_MS);
        await ledger.purge(chain, GRACE_MS);
        await ledger.hold(chain, stray.name, 1000);
      });

      it('begins anew when a sighting misses it', async () => {
        await ledger.sight(chain, [stray]);
        await harness.passTime(chain, GRACE_MS);
        await ledger.sight(chain, []);
        await ledger.sight(chain, [stray]);
        expect(await condemned()).toEqual([]);
      });

      it('is none while it is held, nor when a cycle tells of it after all', async () => {
        const segment = segmentAt(7);
        const name = `s/${segment.sha256}`;
        await ledger.sight(chain, [stray, { name, sizeBytes: 5 }]);
        await harness.passTime(chain, GRACE_MS);
        await ledger.hold(chain, stray.name, 60_000);
        const cycle = await open();
        const request = { tenantId: chain.tenantId, cycle: cycle.cycle, writer };
        await harness.catalogue.recordSegment(request, segment);
        expect(await ledger.strangersAmong(chain, [stray.name, name])).toEqual([]);
        expect(await condemned()).toEqual([]);
      });

      it('is refused to cycles once it is condemned', async () => {
        const segment = segmentAt(8);
        const list = { sha256: hash('a list'), entryCount: 1 };
        await ledger.sight(chain, [
          { name: `s/${segment.sha256}`, sizeBytes: 5 },
          { name: `l/${list.sha256}`, sizeBytes: 5 },
        ]);
        await harness.passTime(chain, GRACE_MS);
        expect(await condemned()).toHaveLength(2);
        const cycle = await open();
        const request = { tenantId: chain.tenantId, cycle: cycle.cycle, writer };
        expect(await refusal(harness.catalogue.recordSegment(request, segment))).toMatchObject({ code: 'cycle.segment-missing' });
        expect(await refusal(harness.catalogue.recordList(request, list))).toMatchObject({ code: 'cycle.list-missing' });
      });
    });

    it('knows lists and manifests of open and committed cycles, and cannot account for those of others', async () => {
      const { point } = await commit();
      const nameOf = (cycle: bigint): string => `m/${point.ref.branchId}/0000000000-${cycle.toString(16).padStart(16, '0')}`;
      const foreign = [nameOf(point.ref.cycle + 999n), `v/0000000001-${hash('newer')}`];
      expect(await ledger.strangersAmong(chain, [`l/${hash('list')}`, nameOf(point.ref.cycle), ...foreign])).toEqual(foreign);
      expect((await ledger.unaccountable(chain, foreign)).sort()).toEqual([...foreign].sort());
      const voided = await open();
      await open();
      const leftover = `m/${voided.branchId}/0000000001-${voided.cycle.toString(16).padStart(16, '0')}`;
      expect(await ledger.strangersAmong(chain, [leftover])).toEqual([leftover]);
      expect(await ledger.unaccountable(chain, [leftover])).toEqual([]);
      await ledger.hold(chain, foreign[1]!, 1);
      await harness.passTime(chain, 10);
      await ledger.sight(chain, [{ name: foreign[1]!, sizeBytes: 1 }]);
      expect(await ledger.unaccountable(chain, [foreign[1]!])).toEqual([]);
    });

    it('dooms what ended cycles left over, and nothing of open ones', async () => {
      const cycle = await open();
      const request = { tenantId: chain.tenantId, cycle: cycle.cycle, writer };
      await harness.catalogue.recordSegment(request, segmentAt(3));
      expect(await ledger.doomLeftovers(chain)).toBe(0);
      await open();
      expect(await ledger.doomLeftovers(chain)).toBe(1);
      expect(await ledger.doomLeftovers(chain)).toBe(0);
      await harness.passTime(chain, GRACE_MS);
      expect(await condemned()).toEqual([`s/${segmentAt(3).sha256}`]);
      expect(await ledger.strangersAmong(chain, [`s/${segmentAt(3).sha256}`])).toHaveLength(1);
    });

    it('keeps parts that another index needs', async () => {
      const { point } = await commit();
      await holdAll(['one', 'two', 'shared'].map((text) => `x/${hash(text)}`));
      await ledger.changeIndexes(chain, { revision: 0, addIndexes: [indexOf('one', point, ['shared'])], dropIndexes: [], writtenBytes: 1 });
      await holdAll([`x/${hash('shared')}`]);
      const addIndexes = [indexOf('two', point, ['shared'])];
      await ledger.changeIndexes(chain, { revision: 0, addIndexes, dropIndexes: [hash('one')], writtenBytes: 1 });
      await harness.passTime(chain, GRACE_MS);
      expect(await condemned()).toEqual([`x/${hash('one')}`]);
    });

    it('refuses a sweep that is too large until somebody approves it', async () => {
      const { segment } = await commit();
      await commit();
      await ledger.switch(chain, await switchOf([segment], null));
      await harness.passTime(chain, GRACE_MS);
      const tight = { ...LIMITS, freeBytes: 0 };
      const overLimit = { code: 'collection.over-limit', details: { bytes: 4096, objects: 1, storedBytes: 8192 } };
      expect(await refusal(ledger.condemn(chain, tight))).toMatchObject(overLimit);
      expect(await refusal(ledger.condemn(chain, { ...LIMITS, objectsMax: 0 }))).toMatchObject(overLimit);
      await ledger.approveSweep(chain, { bytes: 4095, objects: 1, ttlMs: 60_000, approvedBy: 'ada' });
      expect(await refusal(ledger.condemn(chain, tight))).toMatchObject(overLimit);
      await ledger.approveSweep(chain, { bytes: 4096, objects: 1, ttlMs: 60_000, approvedBy: 'ada' });
      expect(await ledger.condemn(chain, tight)).toEqual([{ name: `s/${segment}`, sizeBytes: 4096 }]);
    });

    it('lets one of two switches that race through', async () => {
      const { segment } = await commit();
      const changes = [await switchOf([segment], 'left'), await switchOf([segment], 'right')];
      const outcomes = await Promise.allSettled(changes.map((change) => ledger.switch(chain, change)));
      expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
      expect((await ledger.read(chain)).segments).toHaveLength(1);
    });
  });
}
