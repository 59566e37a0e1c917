import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DAY_MS } from '#libs/kernel';
import type { ChainAddress, Damage, ScrubbedKind, ScrubLedger } from '#libs/chain';

export interface ScrubLedgerHarness {
  readonly ledger: ScrubLedger;
  /** A chain for whose one wrapped key, of this name, the catalogue answers. */
  newChain(): Promise<{ readonly address: ChainAddress; readonly key: string }>;
  /** Everything noted of this chain is that much older from now on. */
  passTime(address: ChainAddress, ms: number): Promise<void>;
  close(): Promise<void>;
}

const KINDS: readonly ScrubbedKind[] = [
  'segment',
  'manifest',
  'list',
  'index',
  'snapshot',
  'key',
  'fence',
  'relationship',
  'presence',
  'tenant-key',
];
const EVERY = { everyMs: 23 * DAY_MS, limit: 10 };
const SHA256 = 'ab'.repeat(32);

/** What every scrub ledger keeps. */
export function describeScrubLedger(title: string, makeHarness: () => Promise<ScrubLedgerHarness>): void {
  describe(`a scrub ledger ${title}`, () => {
    let harness: ScrubLedgerHarness;
    let ledger: ScrubLedger;
    let address: ChainAddress;
    let key: string;
    beforeAll(async () => void ({ ledger } = harness = await makeHarness()));
    afterAll(() => harness?.close());
    beforeEach(async () => void ({ address, key } = await harness.newChain()));

    it('has what no reference pins looked at first, once, and all else when its time has come', async () => {
      const { tenantId, chainId } = address;
      const names = ['s/1', 'm/2', key, 'f/3', 'r/4', `/r/${tenantId}/${chainId}`, `/t/${tenantId}/k/5`];
      const isUnpinned = (name: string): boolean => !/^[sm]/.test(name);
      const first = await ledger.due(address, names, EVERY);
      expect(first.filter(({ isDue }) => isDue).map(({ name }) => name)).toEqual(names.filter(isUnpinned).sort(byText));
      expect(first.slice(-2).map(({ name, isDue }) => [name, isDue])).toEqual([
        ['m/2', false],
        ['s/1', false],
      ]);
      await ledger.recordVerified(
        address,
        names.map((name) => ({ name, sha256: isUnpinned(name) ? SHA256 : null })),
      );
      const noted = await ledger.due(address, names, EVERY);
      expect(noted.filter(({ isDue }) => isDue)).toEqual([]);
      expect(noted.filter(({ sha256 }) => sha256 === SHA256).map(({ name }) => name)).toEqual(names.filter(isUnpinned).sort(byText));
      await harness.passTime(address, 24 * DAY_MS);
      expect((await ledger.due(address, names, EVERY)).filter(({ isDue }) => isDue)).toHaveLength(names.length);
      expect(await ledger.due(address, names, { ...EVERY, limit: 3 })).toHaveLength(3);
    });

    it('knows what has to be there: keys by the catalogue, all else that no reference pins once it was sound', async () => {
      const { tenantId } = address;
      const names = ['s/1', 'f/2', 'f/3', `/t/${tenantId}/k/4`];
      expect(await ledger.unpinned(address)).toEqual([key]);
      await ledger.due(address, [...names, key], EVERY);
      expect(await ledger.unpinned(address)).toEqual([key]);
      await ledger.recordVerified(address, [
        { name: 's/1', sha256: null },
        { name: 'f/2', sha256: SHA256 },
        { name: `/t/${tenantId}/k/4`, sha256: SHA256 },
        { name: key, sha256: SHA256 },
      ]);
      expect((await ledger.unpinned(address)).sort(byText)).toEqual([`/t/${tenantId}/k/4`, 'f/2', key].sort(byText));
      // What is not named any more is forgotten.
      await ledger.due(address, ['s/1', key], EVERY);
      expect(await ledger.unpinned(address)).toEqual([key]);
    });

    it('keeps damage of each kind until it ends', async () => {
      const damages = KINDS.map((kind, index): Damage => {
        const positions = kind === 'segment' ? [7n, 9n] : [];
        const blocks = kind === 'segment' ? [{ disk: 0, block: 8, count: 2 }] : [];
        const layer = kind === 'list' || kind === 'manifest' ? 7n : null;
        return { name: `o/${index}`, kind, layer, code: 'view.hash-mismatch', message: 'damaged', positions, assessedTo: 9n, blocks };
      });
      for (const damage of damages) await ledger.recordDamage(address, damage);
      expect((await ledger.damages(address)).sort((a, b) => byText(a.name, b.name))).toEqual(damages);
      const better = { ...damages[0]!, positions: [9n], assessedTo: 12n, blocks: [] };
      await ledger.recordDamage(address, better);
      expect((await ledger.damages(address)).find(({ name }) => name === 'o/0')).toEqual(better);
      for (const { name } of damages.slice(1)) for (let time = 0; time < 2; time += 1) await ledger.endDamage(address, name);
      expect(await ledger.damages(address)).toEqual([better]);
    });
  });
}

const byText = (a: string, b: string): number => (a < b ? -1 : 1);
