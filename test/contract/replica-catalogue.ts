import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { newId, type BranchId, type ChainId, type RecoveryPointId, type TenantId } from '#libs/kernel';
import {
  compareEpochs,
  type CommitCycle,
  type CommittedPoint,
  type CycleState,
  type Manifest,
  type ManifestKind,
  type NewChain,
  type ReplicaCatalogue,
  type Writer,
} from '#libs/chain';
import { hash, manifestOf, MISMATCHES, prepareCommit, refusal, segmentAt, type CatalogueHarness } from './replica-catalogue-kit.js';
import { catalogueKeys } from './replica-catalogue-keys.js';

export type { CatalogueHarness } from './replica-catalogue-kit.js';

/** The protocol every adapter of {@link ReplicaCatalogue} keeps. */
export function describeReplicaCatalogue(name: string, makeHarness: () => Promise<CatalogueHarness>): void {
  describe(`ReplicaCatalogue: ${name}`, () => {
    let harness: CatalogueHarness;
    let catalogue: ReplicaCatalogue;
    let chain: NewChain;
    let writer: Writer;

    beforeAll(async () => {
      harness = await makeHarness();
      catalogue = harness.catalogue;
    });

    afterAll(() => harness.close());

    beforeEach(async () => {
      chain = await harness.newChain();
      writer = { id: newId(), tag: chain.tag };
      await catalogue.createChain(chain);
      await catalogue.recordKey({ ...chain, writer, generation: 1, kind: 'data', recipient: hash('tenant') });
      await catalogue.recordKey({ ...chain, writer, generation: 0, kind: 'fingerprint', recipient: hash('tenant') });
    });

    const open = async (kind: ManifestKind = 'point'): Promise<CycleState> => {
      const { epoch, head } = await catalogue.chain(chain);
      return catalogue.openCycle({ ...chain, writer, epoch, kind, parent: head?.sha256 ?? null });
    };

    const prepare = (cycle: CycleState, segments = [segmentAt(0)], changes: Partial<Manifest> = {}): Promise<CommitCycle> =>
      prepareCommit(catalogue, writer, cycle, segments, changes);

    const commitOne = async (kind: ManifestKind = 'point'): Promise<CommittedPoint> => catalogue.commit(await prepare(await open(kind)));

    catalogueKeys(() => harness);

    describe('a chain', () => {
      it('is created once; a repeat gives its state, another branch or tag is refused', async () => {
        const state = await catalogue.createChain(chain);
        expect(state).toMatchObject({ chainId: chain.chainId, branchId: chain.branchId, tag: chain.tag, head: null });
        expect(state.epoch.counter).toBeGreaterThanOrEqual(1);
        expect(await refusal(catalogue.createChain({ ...chain, branchId: newId<BranchId>() }))).toMatchObject({ code: 'chain.exists' });
      });

      it('is not found by another tenant, nor are its cycles and points', async () => {
        const tenantId = newId<TenantId>();
        const foreign = { tenantId, chainId: chain.chainId };
        const cycle = await open();
        const point = await catalogue.commit(await prepare(cycle));
        const request = { tenantId, cycle: cycle.cycle, writer };
        const { epoch } = await catalogue.chain(chain);
        expect(await refusal(catalogue.chain(foreign))).toMatchObject({ code: 'chain.not-found' });
        expect(await refusal(catalogue.openCycle({ ...foreign, writer, epoch, kind: 'point', parent: null }))).toMatchObject({
          code: 'chain.not-found',
        });
        expect(await refusal(catalogue.listPoints(foreign))).toMatchObject({ code: 'chain.not-found' });
        expect(await refusal(catalogue.point(foreign, point.id))).toMatchObject({ code: 'chain.not-found' });
        expect(await refusal(catalogue.raiseEpoch({ ...foreign, epoch }))).toMatchObject({ code: 'chain.not-found' });
        expect(await refusal(catalogue.cycle({ tenantId, cycle: cycle.cycle }))).toMatchObject({ code: 'cycle.not-found' });
        expect(await refusal(catalogue.renewLease(request))).toMatchObject({ code: 'cycle.not-found' });
        expect(await refusal(catalogue.recordSegment(request, segmentAt(0)))).toMatchObject({ code: 'cycle.not-found' });
        expect(await refusal(catalogue.bindManifest(request, hash('m')))).toMatchObject({ code: 'cycle.not-found' });
        const unknown = { ...chain, chainId: newId<ChainId>() };
        expect(await refusal(catalogue.chain(unknown))).toMatchObject({ code: 'chain.not-found' });
      });
    });

    describe('opening a cycle', () => {
      it('numbers each attempt anew, in the incarnation of the epoch, and voids the one before', async () => {
        const first = await open();
        const second = await open('staging');
        expect(second.cycle).toBeGreaterThan(first.cycle);
        expect(Number(second.cycle >> 48n)).toBe(second.epoch.incarnation);
        expect(second).toMatchObject({ status: 'open', kind: 'staging', sequence: 0, parent: null, segments: [], manifestSha256: null });
        expect(await catalogue.cycle(first)).toMatchObject({ status: 'voided' });
        const request = { tenantId: chain.tenantId, cycle: first.cycle, writer };
        expect(await refusal(catalogue.recordSegment(request, segmentAt(0)))).toMatchObject({ code: 'cycle.voided' });
        expect(await refusal(catalogue.renewLease(request))).toMatchObject({ code: 'cycle.voided' });
      });

      it('checks tag, epoch and parent, and tells what counts now', async () => {
        const point = await commitOne();
        const { epoch } = await catalogue.chain(chain);
        const request = { ...chain, writer, epoch, kind: 'point', parent: point.ref.sha256 } as const;
        const otherTag = { ...writer, tag: 'tag-b' };
        expect(await refusal(catalogue.openCycle({ ...request, writer: otherTag }))).toMatchObject({ code: 'cycle.wrong-tag' });
        const stale = { ...epoch, counter: epoch.counter + 1 };
        expect(await refusal(catalogue.openCycle({ ...request, epoch: stale }))).toMatchObject({
          code: 'cycle.stale-epoch',
          details: { epoch },
        });
        expect(await refusal(catalogue.openCycle({ ...request, parent: null }))).toMatchObject({
          code: 'cycle.parent-mismatch',
          details: { head: point.ref },
        });
        expect(await catalogue.openCycle(request)).toMatchObject({ sequence: 1, parent: point.ref });
      });
    });

    describe('within a cycle', () => {
      it('tells which intervals are durable, ascending, however often they were recorded', async () => {
        const cycle = await open();
        const request = { tenantId: chain.tenantId, cycle: cycle.cycle, writer };
        for (const segment of [segmentAt(20), segmentAt(0), segmentAt(20)]) await catalogue.recordSegment(request, segment);
        const { segments } = await catalogue.cycle(cycle);
        expect(segments).toEqual([segmentAt(0), segmentAt(20)].map(({ sha256, first, last }) => ({ sha256, first, last })));
      });

      it('refuses another tag and another writer', async () => {
        const cycle = await open();
        const request = { tenantId: chain.tenantId, cycle: cycle.cycle, writer };
        const otherTag = { ...request, writer: { ...writer, tag: 'tag-b' } };
        const otherWriter = { ...request, writer: { ...writer, id: newId() } };
        expect(await refusal(catalogue.recordSegment(otherTag, segmentAt(0)))).toMatchObject({ code: 'cycle.wrong-tag' });
        expect(await refusal(catalogue.recordSegment(otherWriter, segmentAt(0)))).toMatchObject({ code: 'cycle.wrong-writer' });
        expect(await refusal(catalogue.bindManifest(otherTag, hash('m')))).toMatchObject({ code: 'cycle.wrong-tag' });
        const key = { ...chain, writer: otherTag.writer, generation: 3, kind: 'data', recipient: hash('r') } as const;
        expect(await refusal(catalogue.recordKey(key))).toMatchObject({ code: 'cycle.wrong-tag' });
      });

      it('stops when the lease has run out, and goes on once it is renewed', async () => {
        const commit = await prepare(await open());
        await harness.expireLeases(chain);
        expect(await refusal(catalogue.recordSegment(commit, segmentAt(50)))).toMatchObject({ code: 'cycle.lease-expired' });
        expect(await refusal(catalogue.commit(commit))).toMatchObject({ code: 'cycle.lease-expired' });
        const leaseExpiresAt = await catalogue.renewLease(commit);
        expect((await catalogue.cycle(commit)).leaseExpiresAt).toEqual(leaseExpiresAt);
        await catalogue.commit(commit);
      });
    });

    describe('a commit', () => {
      it('moves the head and lists the point', async () => {
        const staging = await commitOne('staging');
        const point = await commitOne();
        expect(point).toMatchObject({
          kind: 'point',
          parent: staging.ref,
          consistency: 'crash',
          instant: new Date('2026-03-01T12:00:00.000Z'),
        });
        expect(point.ref).toMatchObject({ branchId: chain.branchId, sequence: 1 });
        expect((await catalogue.chain(chain)).head).toEqual(point.ref);
        expect(await catalogue.listPoints(chain)).toEqual([staging, point]);
        expect(await catalogue.listPoints(chain, { kind: 'point' })).toEqual([point]);
        expect(await catalogue.listPoints(chain, { branchId: newId<BranchId>() })).toEqual([]);
        expect(await catalogue.point(chain, point.id)).toEqual(point);
        expect(await refusal(catalogue.point(chain, newId<RecoveryPointId>()))).toMatchObject({ code: 'point.not-found' });
      });

      it('that is repeated is answered from the row, also after lease and epoch moved on', async () => {
        const commit = await prepare(await open());
        const point = await catalogue.commit(commit);
        await harness.expireLeases(chain);
        await catalogue.raiseEpoch({ ...chain, epoch: (await catalogue.chain(chain)).epoch });
        expect(await catalogue.commit(commit)).toEqual(point);
        expect(await catalogue.bindManifest(commit, commit.manifestSha256)).toEqual(point);
        expect(await catalogue.listPoints(chain)).toHaveLength(1);
        expect(await refusal(catalogue.recordSegment(commit, segmentAt(30)))).toMatchObject({ code: 'cycle.committed' });
      });

      it('with another manifest than the bound one is refused, before and after', async () => {
        const commit = await prepare(await open());
        const conflict = { code: 'cycle.manifest-conflict', details: { manifestSha256: commit.manifestSha256 } };
        expect(await catalogue.bindManifest(commit, commit.manifestSha256)).toBeNull();
        expect(await refusal(catalogue.bindManifest(commit, hash('other')))).toMatchObject(conflict);
        expect(await refusal(catalogue.commit({ ...commit, manifestSha256: hash('other') }))).toMatchObject(conflict);
        await catalogue.commit(commit);
        expect(await refusal(catalogue.commit({ ...commit, manifestSha256: hash('other') }))).toMatchObject(conflict);
        expect(await refusal(catalogue.bindManifest(commit, hash('other')))).toMatchObject(conflict);
      });

      it('needs a bound manifest', async () => {
        const cycle = await open();
        const request = { tenantId: chain.tenantId, cycle: cycle.cycle, writer };
        const commit = { ...request, manifest: manifestOf(cycle, 0), manifestSha256: hash('m'), segments: [] };
        expect(await refusal(catalogue.commit(commit))).toMatchObject({
          code: 'cycle.manifest-conflict',
          details: { manifestSha256: null },
        });
      });

      it.each(MISMATCHES)('whose manifest tells another %s is refused', async (field, changes) => {
        const commit = await prepare(await open(), [segmentAt(0)], changes);
        expect(await refusal(catalogue.commit(commit))).toMatchObject({ code: 'cycle.manifest-mismatch', details: { field } });
        expect((await catalogue.chain(chain)).head).toBeNull();
      });

      it('needs every list page and segment, alive and disjoint', async () => {
        const commit = await prepare(await open(), [segmentAt(0), segmentAt(10)]);
        const lists = [{ sha256: hash('unknown'), entryCount: 2 }];
        expect(await refusal(catalogue.commit({ ...commit, manifest: { ...commit.manifest, lists } }))).toMatchObject({
          code: 'cycle.list-missing',
        });
        const [present] = commit.segments;
        expect(await refusal(catalogue.commit({ ...commit, segments: [present!] }))).toMatchObject({ code: 'cycle.manifest-mismatch' });
        expect(await refusal(catalogue.commit({ ...commit, segments: [present!, hash('gone')] }))).toMatchObject({
          code: 'cycle.segment-missing',
          details: { sha256: hash('gone') },
        });
        expect(await refusal(catalogue.commit({ ...commit, segments: [present!, present!] }))).toMatchObject({
          code: 'cycle.segments-overlap',
        });
        await catalogue.recordSegment(commit, segmentAt(5));
        expect(await refusal(catalogue.commit({ ...commit, segments: [present!, segmentAt(5).sha256] }))).toMatchObject({
          code: 'cycle.segments-overlap',
        });
        await harness.doomSegment(chain, segmentAt(10).sha256);
        expect(await refusal(catalogue.commit(commit))).toMatchObject({ code: 'cycle.segment-missing' });
        expect((await catalogue.chain(chain)).head).toBeNull();
      });

      it('leaves out leftovers of its own first try', async () => {
        const cycle = await open();
        const request = { tenantId: chain.tenantId, cycle: cycle.cycle, writer };
        await catalogue.recordSegment(request, segmentAt(5));
        await catalogue.commit(await prepare(cycle, [segmentAt(0), segmentAt(10)]));
      });

      it('of a writer whose tag was taken or that was revoked is refused', async () => {
        const commit = await prepare(await open());
        await harness.changeTag(chain, 'tag-b');
        expect(await refusal(catalogue.commit(commit))).toMatchObject({ code: 'cycle.wrong-tag' });
        await harness.changeTag(chain, chain.tag);
        await harness.deny(writer);
        await expect(catalogue.commit(commit)).rejects.toThrow();
        expect((await catalogue.chain(chain)).head).toBeNull();
      });

      it('with no change at all is fine', async () => {
        await commitOne();
        const point = await catalogue.commit(await prepare(await open(), []));
        expect(point.ref.sequence).toBe(1);
      });
    });

    describe('an epoch', () => {
      it('that is raised voids what is open and refuses its writer, telling the new one', async () => {
        const commit = await prepare(await open());
        const before = (await catalogue.chain(chain)).epoch;
        const { epoch } = await catalogue.raiseEpoch({ ...chain, epoch: before });
        expect(compareEpochs(epoch, before)).toBeGreaterThan(0);
        const stale = { code: 'cycle.stale-epoch', details: { epoch } };
        expect(await refusal(catalogue.commit(commit))).toMatchObject(stale);
        expect(await refusal(catalogue.recordSegment(commit, segmentAt(40)))).toMatchObject(stale);
        expect(await refusal(catalogue.raiseEpoch({ ...chain, epoch: before }))).toMatchObject(stale);
        expect(await catalogue.cycle(commit)).toMatchObject({ status: 'voided' });
      });
    });

    describe('a branch', () => {
      it('grows out of its frozen point, and the old one can be gone back to', async () => {
        const frozen = await commitOne();
        const later = await commitOne();
        const pending = await prepare(await open(), [segmentAt(0)]);
        const before = (await catalogue.chain(chain)).epoch;
        const branchId = newId<BranchId>();
        const request = { ...chain, epoch: before, branchId, frozenPoint: frozen.id };
        const state = await catalogue.openBranch(request);
        expect(state).toMatchObject({ branchId, head: frozen.ref });
        expect(compareEpochs(state.epoch, before)).toBeGreaterThan(0);
        expect(await catalogue.openBranch(request)).toEqual(state);
        expect(await refusal(catalogue.commit(pending))).toMatchObject({ code: 'cycle.stale-epoch' });

        const onBranch = await commitOne();
        expect(onBranch.ref).toMatchObject({ branchId, sequence: frozen.ref.sequence + 1 });
        expect(onBranch.parent).toEqual(frozen.ref);

        const back = await catalogue.raiseEpoch({ ...chain, epoch: state.epoch, branchId: chain.branchId });
        expect(back).toMatchObject({ branchId: chain.branchId, head: later.ref });
        expect((await commitOne()).parent).toEqual(later.ref);
        expect(await catalogue.listPoints(chain, { branchId })).toEqual([onBranch]);
      });

      it('needs a point, a free name and the current epoch', async () => {
        const staging = await commitOne('staging');
        const point = await commitOne();
        const { epoch } = await catalogue.chain(chain);
        const request = { ...chain, epoch, branchId: newId<BranchId>(), frozenPoint: point.id };
        expect(await refusal(catalogue.openBranch({ ...request, frozenPoint: staging.id }))).toMatchObject({ code: 'point.not-found' });
        expect(await refusal(catalogue.openBranch({ ...request, frozenPoint: newId<RecoveryPointId>() }))).toMatchObject({
          code: 'point.not-found',
        });
        expect(await refusal(catalogue.openBranch({ ...request, branchId: chain.branchId }))).toMatchObject({ code: 'branch.exists' });
        const stale = { ...epoch, counter: epoch.counter + 5 };
        expect(await refusal(catalogue.openBranch({ ...request, epoch: stale }))).toMatchObject({ code: 'cycle.stale-epoch' });
        expect(await refusal(catalogue.raiseEpoch({ ...chain, epoch, branchId: newId<BranchId>() }))).toMatchObject({
          code: 'branch.not-found',
        });
        expect((await catalogue.chain(chain)).epoch).toEqual(epoch);
      });
    });

    it('gives two equal commits that race one answer', async () => {
      const first = await commitOne();
      const attempt = await open();
      const commit = await prepare(attempt);
      const [one, two] = await Promise.allSettled([catalogue.commit(commit), catalogue.commit(commit)]);
      expect(one).toMatchObject({ status: 'fulfilled' });
      expect(two).toEqual(one);
      expect(await catalogue.listPoints(chain)).toHaveLength(2);
      expect((await catalogue.chain(chain)).head?.sequence).toBe(first.ref.sequence + 1);
    });
  });
}
