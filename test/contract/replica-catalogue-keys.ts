import { beforeEach, describe, expect, it } from 'vitest';
import type { NewChain, ReplicaCatalogue, Writer } from '#libs/chain';
import { newId } from '#libs/kernel';
import { type CatalogueHarness, hash, prepareCommit, refusal, segmentAt } from './replica-catalogue-kit.js';

/** What a catalogue takes only once the wrapped keys for it are durable. */
export function catalogueKeys(harnessNow: () => CatalogueHarness): void {
  describe('the keys of a chain', () => {
    let catalogue: ReplicaCatalogue;
    let chain: NewChain;
    let writer: Writer;

    beforeEach(async () => {
      ({ catalogue } = harnessNow());
      chain = await harnessNow().newChain();
      writer = { id: newId(), tag: chain.tag };
      await catalogue.createChain(chain);
    });

    const record = (kind: 'data' | 'fingerprint', generation: number): Promise<void> =>
      catalogue.recordKey({ ...chain, writer, generation, kind, recipient: hash('tenant') });

    it('come before the segments of their generation', async () => {
      const { epoch } = await catalogue.chain(chain);
      const { cycle } = await catalogue.openCycle({ ...chain, writer, epoch, kind: 'point', parent: null });
      const request = { tenantId: chain.tenantId, cycle, writer };
      const segment = { ...segmentAt(0), generations: [2] };
      expect(await refusal(catalogue.recordSegment(request, segment))).toMatchObject({ code: 'keys.generation-unknown' });
      await record('fingerprint', 0);
      expect(await refusal(catalogue.recordSegment(request, segment))).toMatchObject({ code: 'keys.generation-unknown' });
      await record('data', 2);
      await record('data', 2);
      await catalogue.recordSegment(request, segment);
    });

    it('come before every commit, the fingerprint key too; the commit goes on once that is durable', async () => {
      await record('data', 1);
      const { epoch } = await catalogue.chain(chain);
      const first = await catalogue.openCycle({ ...chain, writer, epoch, kind: 'staging', parent: null });
      const commit = await prepareCommit(catalogue, writer, first, [segmentAt(0)], {});
      expect(await refusal(catalogue.commit(commit))).toMatchObject({ code: 'keys.fingerprint-unknown' });
      expect((await catalogue.chain(chain)).head).toBeNull();
      await record('fingerprint', 0);
      await catalogue.commit(commit);
      expect((await catalogue.listPoints(chain)).map(({ kind }) => kind)).toEqual(['staging']);
    });
  });
}
