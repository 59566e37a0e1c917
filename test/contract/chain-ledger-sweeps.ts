import { beforeEach, describe, expect, it } from 'vitest';
import { arrangeLedger, GRACE_MS, LIMITS, NAME_TAKEN, type LedgerHarness } from './chain-ledger-kit.js';
import { hash, refusal, segmentAt } from './replica-catalogue-kit.js';

/** What every adapter of the ledger keeps of what may be deleted. */
export function describeLedgerSweeps(name: string, makeHarness: () => Promise<LedgerHarness>): void {
  describe(`ChainLedger, sweeps: ${name}`, () => {
    const scene = arrangeLedger(makeHarness);
    const { open, commit, indexOf, holdAll, switchOf, condemned } = scene;
    let { harness, ledger, chain, writer } = scene.current();
    beforeEach(() => {
      ({ harness, ledger, chain, writer } = scene.current());
    });

    describe('an object that no row stands for', () => {
      const stray = { name: `s/${hash('stray')}`, sizeBytes: 10 };

      it('is condemned after a grace between two sightings, deleted, and forgotten a grace later', async () => {
        await ledger.sight(chain, [stray]);
        expect(await condemned()).toEqual([]);
        await harness.passTime(chain, GRACE_MS);
        expect(await condemned()).toEqual([stray.name]);
        expect(await condemned()).toEqual([stray.name]);
        expect(await refusal(ledger.hold(chain, stray.name, 1000))).toMatchObject(NAME_TAKEN);
        await ledger.recordDeleted(chain, [stray.name]);
        expect(await condemned()).toEqual([]);
        await ledger.purge(chain, GRACE_MS);
        expect(await refusal(ledger.hold(chain, stray.name, 1000))).toMatchObject(NAME_TAKEN);
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
  });
}
