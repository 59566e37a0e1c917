import { CodedError } from '#libs/kernel';
import type { IndexRef } from '../indexes/index-ref.js';
import type { Replacements } from '../indexes/layer-reader.js';
import { coverPositions } from '../indexes/plan-indexes.js';
import type { ListEntry } from '../manifest/list-page.js';
import type { ManifestRef } from '../manifest/manifest.js';

/** What whoever knows a chain tells a reader of one of its paths: it opens at once by these, and is read as right or refused whatever they say. */
export interface PathHelp {
  readonly indexes: readonly IndexRef[];
  /** Manifests of layers that no index covers. */
  readonly known: readonly ManifestRef[];
  readonly replacements: Replacements;
}

export interface PositionRange {
  readonly first: number;
  readonly last: number;
}

/** Replacements of one page, in the order of their segments' names. */
export interface ReplacementPage {
  readonly replacements: readonly { readonly segment: string; readonly by: readonly ListEntry[] }[];
  /** The last segment told of, where there are more behind it. */
  readonly more: string | null;
}

export interface ResolveAgain {
  readonly head: ManifestRef;
  /** The point below, where what changed since then is read too. */
  readonly base?: ManifestRef | null;
  /** Roots of indexes that failed this reader. */
  readonly lost: ReadonlySet<string>;
  /** As the catalogue has it now. `isWhole` is false where not all replacements fitted. */
  resolve(): Promise<PathHelp & { readonly isWhole: boolean }>;
  /** What stands for segments that the layers at these positions list, behind a segment's name. */
  replacementsOf(ranges: readonly PositionRange[], after: string | null): Promise<ReplacementPage>;
}

/** So many of them are some 200 MiB. Indexes spare readers from ever needing them, and are built before a chain has as many. */
const REPLACEMENTS_MAX = 262_144;
const RANGES_MAX = 1_024;

/**
 * Asks once more where everything is. The layers that indexes covered which are lost are read from their footers: what was dissolved of these must be told too,
 * page by page. `view.too-many-replacements` when that is more than a reader holds.
 */
export async function resolveAgain({ head, base = null, lost, resolve, replacementsOf }: ResolveAgain): Promise<PathHelp> {
  const { isWhole, indexes, known, replacements: told } = await resolve();
  const help = { indexes, known };
  if (isWhole && !indexes.some(({ sha256 }) => lost.has(sha256))) return { ...help, replacements: told };
  const standing = indexes.filter(({ sha256 }) => !lost.has(sha256));
  const positions = new Set(
    [0, ...(base === null ? [] : [base.sequence + 1])].flatMap((first) => coverPositions(standing, head.sequence, first).layers),
  );
  const replacements = new Map(told);
  for (const ranges of batchesOf(rangesOf([...positions].sort((a, b) => a - b)))) {
    let after: string | null = null;
    do {
      const page: ReplacementPage = await replacementsOf(ranges, after);
      for (const { segment, by } of page.replacements) replacements.set(segment, by);
      if (replacements.size > REPLACEMENTS_MAX)
        throw new CodedError(
          'view.too-many-replacements',
          'unavailable',
          'the indexes of this recovery point are lost, and being built anew',
        );
      after = page.more;
    } while (after !== null);
  }
  return { ...help, replacements };
}

function rangesOf(ascending: readonly number[]): PositionRange[] {
  const ranges: { first: number; last: number }[] = [];
  for (const position of ascending) {
    const range = ranges.at(-1);
    if (range !== undefined && range.last === position - 1) range.last = position;
    else ranges.push({ first: position, last: position });
  }
  return ranges;
}

function batchesOf(ranges: readonly PositionRange[]): PositionRange[][] {
  const batches: PositionRange[][] = [];
  for (let from = 0; from < ranges.length; from += RANGES_MAX) batches.push(ranges.slice(from, from + RANGES_MAX));
  return batches;
}
