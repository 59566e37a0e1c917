import { beforeEach, describe, expect, it } from 'vitest';
import type { CondemnedObject } from '#libs/chain';
import { arrangeLedger, GRACE_MS, LIMITS, NAME_TAKEN, type LedgerHarness } from './chain-ledger-kit.js';
import { hash, refusal, segmentAt } from './replica-catalogue-kit.js';

/** What every adapter of the ledger keeps of what may be deleted. */
export function describeLedgerSweeps(name: string, makeHarness: () => Promise<LedgerHarness>): void {
  describe(`ChainLedger, sweeps: ${name}`, () => {
    const scene = arrangeLedger(makeHarness);
    const { open, commit, indexOf, holdAll, switchOf, condemned } = scene;
    /** A whole listing that began and ended just now. */
    const sight = async (...strangers: readonly CondemnedObject[]): Promise<void> =>
      ledger.sight(chain, strangers, await ledger.beginListing(chain));
    let { harness, ledger, chain, writer } = scene.current();
    beforeEach(() => {
      ({ harness, ledger, chain, writer } = scene.current());
    });

    describe('an object that no row stands for', () => {
      const stray = { name: `s/${hash('stray')}`, sizeBytes: 10 };

      it('is condemned after a grace between two sightings, deleted, and forgotten a grace later', async () => {
        await sight(stray);
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
        await sight(stray);
        await harness.passTime(chain, GRACE_MS);
        await sight();
        await sight(stray);
        expect(await condemned()).toEqual([]);
      });

      it('that a listing told of before it was deleted stays condemned; one that is here again after it is a new stray', async () => {
        await sight(stray);
        await harness.passTime(chain, GRACE_MS);
        const listedAt = await ledger.beginListing(chain);
        await condemned();
        expect(await ledger.stillCondemned(chain, [stray.name, 'l/none'])).toEqual([stray.name]);
        await ledger.sight(chain, [stray], listedAt);
        expect(await ledger.stillCondemned(chain, [stray.name])).toEqual([stray.name]);
        await ledger.recordDeleted(chain, [stray.name]);
        expect(await ledger.stillCondemned(chain, [stray.name])).toEqual([]);
        await ledger.sight(chain, [stray], listedAt);
        expect(await refusal(ledger.hold(chain, stray.name, 1000))).toMatchObject(NAME_TAKEN);
        await harness.passTime(chain, 10);
        await sight(stray);
        expect(await condemned()).toEqual([]);
        await ledger.hold(chain, stray.name, 1000);
      });

      it('is none while it is held, nor when a cycle tells of it after all', async () => {
        const segment = segmentAt(7);
        const name = `s/${segment.sha256}`;
        await sight(stray, { name, sizeBytes: 5 });
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
        await sight({ name: `s/${segment.sha256}`, sizeBytes: 5 }, { name: `l/${list.sha256}`, sizeBytes: 5 });
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
      await harness.catalogue.bindManifest({ tenantId: chain.tenantId, cycle: voided.cycle, writer }, hash('bound'));
      const unbound = await open();
      await open();
      const leftover = `m/${voided.branchId}/0000000001-${voided.cycle.toString(16).padStart(16, '0')}`;
      expect(await ledger.strangersAmong(chain, [leftover])).toEqual([leftover]);
      expect(await ledger.unaccountable(chain, [leftover])).toEqual([]);
      // Given out, and bound to nothing: whoever stored a manifest under it stood on a later state.
      const later = `m/${unbound.branchId}/0000000001-${unbound.cycle.toString(16).padStart(16, '0')}`;
      expect(await ledger.unaccountable(chain, [later])).toEqual([later]);
      await ledger.hold(chain, foreign[1]!, 1);
      await harness.passTime(chain, 10);
      await sight({ name: foreign[1]!, sizeBytes: 1 });
      expect(await ledger.unaccountable(chain, [foreign[1]!])).toEqual([]);
    });

    it('tells its own snapshots from others of the same sequence, also those that it no longer needs, until they are deleted', async () => {
      await commit();
      const own = [1, 2].map((sequence) => ({ sequence, sha256: hash(`own ${sequence}`), since: sequence }));
      const nameOf = ({ sequence, sha256 }: { sequence: number; sha256: string }): string =>
        `v/${String(sequence).padStart(10, '0')}-${sha256}`;
      for (const document of own) {
        await ledger.hold(chain, nameOf(document), 60_000);
        await ledger.recordSnapshot(chain, [document]);
      }
      const others = [1, 2].map((sequence) => nameOf({ sequence, sha256: hash(`another's ${sequence}`) }));
      const [first, second] = own.map(nameOf);
      expect(await ledger.strangersAmong(chain, [first!, second!, ...others])).toEqual([first, ...others]);
      expect((await ledger.unaccountable(chain, [first!, second!, ...others])).sort()).toEqual(others.sort());
      await ledger.sight(chain, [{ name: first!, sizeBytes: 1 }], await ledger.beginListing(chain));
      await harness.passTime(chain, GRACE_MS);
      expect(await condemned()).toEqual([first]);
      expect(await ledger.unaccountable(chain, [first!])).toEqual([]);
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

    it('holds a sweep that is too large until it is approved: that sweep, and once', async () => {
      const { segment } = await commit();
      const { segment: second } = await commit();
      await ledger.switch(chain, await switchOf([segment], null));
      await harness.passTime(chain, GRACE_MS);
      const tight = { ...LIMITS, freeBytes: 0 };
      const sizes = { bytes: 4096, objects: 1, storedBytes: 8192 };
      expect(await ledger.heldSweep(chain)).toBeNull();
      expect(await refusal(ledger.condemn(chain, tight))).toMatchObject({ code: 'collection.over-limit', details: sizes });
      expect(await refusal(ledger.condemn(chain, { ...LIMITS, objectsMax: 0 }))).toMatchObject({ code: 'collection.over-limit' });
      const held = (await ledger.heldSweep(chain))!;
      expect(held).toMatchObject({ ...sizes, foundAt: expect.any(Date) });
      expect(await refusal(ledger.condemn(chain, tight))).toMatchObject({ details: { sweep: held.digest } });
      expect(await harness.approveSweep(chain, hash('another sweep'))).toBe(false);
      expect(await harness.approveSweep(chain, held.digest)).toBe(true);
      // What comes due after it was shown is no part of it.
      await ledger.switch(chain, await switchOf([second], null));
      await harness.passTime(chain, GRACE_MS);
      expect(await ledger.condemn(chain, tight)).toEqual([{ name: `s/${segment}`, sizeBytes: 4096 }]);
      expect(await ledger.heldSweep(chain)).toBeNull();
      expect(await refusal(ledger.condemn(chain, tight))).toMatchObject({ code: 'collection.over-limit', details: { objects: 1 } });
      expect((await ledger.heldSweep(chain))!.digest).not.toBe(held.digest);
      expect((await ledger.condemn(chain, LIMITS)).map(({ name }) => name)).toContain(`s/${second}`);
      expect(await ledger.heldSweep(chain)).toBeNull();
    });

    it('counts for a tenant, over all its chains', async () => {
      const other = { ...(await harness.newChain()), tenantId: chain.tenantId };
      await harness.catalogue.createChain(other);
      await sight(...[1, 2].map((at) => ({ name: `s/${hash(`stray ${at}`)}`, sizeBytes: 10 })));
      await ledger.sight(other, [{ name: `s/${hash('elsewhere')}`, sizeBytes: 10 }], await ledger.beginListing(other));
      await harness.passTime(chain, GRACE_MS);
      await harness.passTime(other, GRACE_MS);
      const limits = { ...LIMITS, objectsMax: 2 };
      expect(await ledger.condemn(chain, limits)).toHaveLength(2);
      expect(await refusal(ledger.condemn(other, limits))).toMatchObject({ code: 'collection.over-limit', details: { objects: 1 } });
      expect(await refusal(ledger.condemn(other, { ...limits, objectsMax: 3, freeBytes: 29 }))).toMatchObject({
        code: 'collection.over-limit',
      });
      await harness.passTime(chain, limits.windowMs);
      expect(await ledger.condemn(other, limits)).toHaveLength(1);
    });
  });
}
