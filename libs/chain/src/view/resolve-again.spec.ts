import { describe, expect, it } from 'vitest';
import { newId, type BranchId } from '#libs/kernel';
import type { IndexRef } from '../indexes/index-ref.js';
import type { ManifestRef } from '../manifest/manifest.js';
import { resolveAgain, type PositionRange, type ReplacementPage, type ResolveAgain } from './resolve-again.js';

const branchId = newId<BranchId>();
const refAt = (sequence: number): ManifestRef => ({
  branchId,
  sequence,
  cycle: BigInt(sequence + 1),
  sha256: `${sequence}`,
  path: `${sequence}`,
});
const indexOf = (sha256: string, first: number, last: number): IndexRef => ({
  sha256,
  first,
  last,
  lastCycle: BigInt(last + 1),
  branchId,
  sizeBytes: 1,
  bytes: 1,
});

/** A chain of a hundred layers, each of whose segments was dissolved; pages of 16. */
class Catalogue {
  readonly asked: { readonly ranges: readonly PositionRange[]; readonly after: string | null }[] = [];
  readonly indexes = [indexOf('base', 0, 63), indexOf('run', 64, 95), indexOf('tip', 96, 98)];

  resolveAgain(changes: Partial<ResolveAgain> = {}, isWhole = true): ReturnType<typeof resolveAgain> {
    return resolveAgain({
      head: refAt(99),
      lost: new Set<string>(),
      resolve: async () => ({ indexes: this.indexes, known: [refAt(99)], replacements: new Map([[nameOf(99), []]]), isWhole }),
      replacementsOf: async (ranges, after) => this.#page(ranges, after),
      ...changes,
    });
  }

  #page(ranges: readonly PositionRange[], after: string | null): ReplacementPage {
    this.asked.push({ ranges, after });
    const names = Array.from({ length: 100 }, (_, position) => position)
      .filter((position) => ranges.some(({ first, last }) => first <= position && position <= last))
      .map(nameOf)
      .filter((name) => after === null || name > after);
    const page = names.slice(0, 16);
    return { replacements: page.map((segment) => ({ segment, by: [] })), more: page.length < names.length ? page.at(-1)! : null };
  }
}

const nameOf = (position: number): string => `segment ${String(position).padStart(3, '0')}`;

describe('resolving a point again', () => {
  it('takes what it is told where nothing was lost', async () => {
    const catalogue = new Catalogue();
    const { replacements } = await catalogue.resolveAgain({ lost: new Set(['one of long ago']) });
    expect([...replacements.keys()]).toEqual([nameOf(99)]);
    expect(catalogue.asked).toEqual([]);
  });

  it('asks page by page for what was dissolved below a lost index, and for nothing below the others', async () => {
    const catalogue = new Catalogue();
    const { replacements, indexes } = await catalogue.resolveAgain({ lost: new Set(['run']) });
    expect([...replacements.keys()].sort()).toEqual([...Array.from({ length: 32 }, (_, at) => nameOf(64 + at)), nameOf(99)]);
    expect(catalogue.asked).toEqual([
      {
        ranges: [
          { first: 64, last: 95 },
          { first: 99, last: 99 },
        ],
        after: null,
      },
      {
        ranges: [
          { first: 64, last: 95 },
          { first: 99, last: 99 },
        ],
        after: nameOf(79),
      },
      {
        ranges: [
          { first: 64, last: 95 },
          { first: 99, last: 99 },
        ],
        after: nameOf(95),
      },
    ]);
    // It may have been built anew under its name: it is tried again.
    expect(indexes).toBe(catalogue.indexes);
  });

  it('asks for what did not fit into the answer', async () => {
    const catalogue = new Catalogue();
    await catalogue.resolveAgain({}, false);
    expect(catalogue.asked).toEqual([{ ranges: [{ first: 99, last: 99 }], after: null }]);
  });

  it('reckons with what lies above a base by itself, where fewer indexes serve', async () => {
    const catalogue = new Catalogue();
    const { replacements } = await catalogue.resolveAgain({ base: refAt(70), lost: new Set(['tip']) });
    expect([...replacements.keys()].sort()).toEqual(Array.from({ length: 29 }, (_, at) => nameOf(71 + at)));
  });

  it('gives up where that is more than a reader holds', async () => {
    let page = 0;
    const endless = async (): Promise<ReplacementPage> => {
      page += 1;
      const replacements = Array.from({ length: 4_096 }, (_, at) => ({ segment: `${page} ${at}`, by: [] }));
      return { replacements, more: `${page}` };
    };
    const all = new Set(['base', 'run', 'tip']);
    await expect(new Catalogue().resolveAgain({ lost: all, replacementsOf: endless })).rejects.toMatchObject({
      code: 'view.too-many-replacements',
      kind: 'unavailable',
    });
    expect(page).toBeLessThan(70);
  });
});
