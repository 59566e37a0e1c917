import { beforeEach, describe, expect, it } from 'vitest';
import { newId, type BranchId } from '#libs/kernel';
import type { BlockPosition, CommittedPoint } from '#libs/chain';
import { arrangeLedger, CONFLICT, GRACE_MS, NAME_TAKEN, type LedgerHarness } from './chain-ledger-kit.js';
import { hash, refusal, segmentAt } from './replica-catalogue-kit.js';

const sorted = (blocks: readonly BlockPosition[]): string[] => blocks.map(({ disk, block }) => `${disk} ${block}`).sort();

/** What every adapter of the ledger keeps of what stands where, and of who reads it. */
export function describeChainLedger(name: string, makeHarness: () => Promise<LedgerHarness>): void {
  describe(`ChainLedger: ${name}`, () => {
    const scene = arrangeLedger(makeHarness);
    const { open, commit, commitOpened, entry, indexOf, holdAll, switchOf, condemned } = scene;
    let { harness, ledger, chain } = scene.current();
    beforeEach(() => {
      ({ harness, ledger, chain } = scene.current());
    });

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
      const { generations: _generations, ...listed } = segmentAt(scene.current().block - 40);
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

    it('asks for costly blocks within bounds, the same for the same cycle, and again only where a cycle did not commit', async () => {
      const BLOCK_BYTES = 65_536;
      await commit('point', 16 * 8 * BLOCK_BYTES);
      const blocks = Array.from({ length: 30 }, (_, at) => ({ disk: at % 2, block: 2 ** 20 + at }));
      await ledger.noteCostlyBlocks(chain, blocks);
      await ledger.noteCostlyBlocks(chain, blocks.slice(0, 3));
      const first = await open();
      const asked = await ledger.askForWhole(chain, first.cycle, 10 * BLOCK_BYTES + 1);
      expect(asked).toHaveLength(10);
      for (const block of asked) expect(blocks).toContainEqual(block);
      expect(sorted(await ledger.askForWhole(chain, first.cycle, 10 * BLOCK_BYTES))).toEqual(sorted(asked));
      // The next one voids the first.
      const second = await open();
      expect(sorted(await ledger.askForWhole(chain, second.cycle, 10 * BLOCK_BYTES))).toEqual(sorted(asked));
      await commitOpened(second);
      const rest: BlockPosition[] = [];
      for (let cycle = 0; cycle < 3; cycle += 1) {
        const third = await open();
        rest.push(...(await ledger.askForWhole(chain, third.cycle, 10 * BLOCK_BYTES)));
        await commitOpened(third);
      }
      const all = sorted([...asked, ...rest]);
      expect(new Set(all).size).toBe(all.length);
      // An eighth of what came unasked, and that is it.
      expect(all.length).toBeGreaterThanOrEqual(13);
      expect(all.length).toBeLessThan(17);
      expect((await ledger.read(chain)).askedBytes).toBe(all.length * BLOCK_BYTES);
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

      it('is refused where a position is kept that its census took for dead', async () => {
        const [one, two] = [await commit(), await commit()];
        await commit();
        const buckets = [{ start: null, end: two.point.ref.cycle }];
        const change = await switchOf([one.segment], null, { buckets });
        expect(await refusal(ledger.switch(chain, change))).toMatchObject(CONFLICT);
        // What came after the census is none of its concern.
        await harness.deletePoint(one.point);
        await ledger.switch(chain, change);
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
        // Not needed while the index is there: it may be lost.
        expect(await lease(two.point)).toMatchObject({ indexes: [index], replacements: [{ segment: one.segment, by: [entry('new')] }] });
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
        expect(await refusal(ledger.hold(chain, `s/${name}`, 1000))).toMatchObject(NAME_TAKEN);
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

    it('lets one of two switches that race through', async () => {
      const { segment } = await commit();
      const changes = [await switchOf([segment], 'left'), await switchOf([segment], 'right')];
      const outcomes = await Promise.allSettled(changes.map((change) => ledger.switch(chain, change)));
      expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
      expect((await ledger.read(chain)).segments).toHaveLength(1);
    });
  });
}
