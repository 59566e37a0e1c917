import type { BranchId } from '#libs/kernel';
import type { IndexRef } from './index-ref.js';

/**
 * How a path runs through the branches of its chain, from the root on: positions up to `last` lie on `branchId`, the next ones on the next span's.
 * The last span ends with the head.
 */
export type Lineage = readonly { readonly branchId: BranchId; readonly last: number }[];

/** What is laid over each other to read some positions of a path, from the oldest on. */
export interface IndexPlan {
  readonly indexes: readonly IndexRef[];
  /** Positions that no index of these covers: their layers are read from footers. */
  readonly layers: readonly number[];
}

/** The plan for the positions from `first` to `last` of a path, out of all the indexes that its chain has. */
export function planIndexes(available: readonly IndexRef[], lineage: Lineage, last: number, first = 0): IndexPlan {
  return coverPositions(
    available.filter((index) => liesOn(lineage, index)),
    last,
    first,
  );
}

/**
 * Chooses as few sources as there can be: from the oldest position that is not covered yet, always the index that leads furthest. At the root this is the
 * newest checkpoint. Indexes may overlap, since each tells the truth about all that it covers; but none may reach below `first`.
 */
export function coverPositions(onPath: readonly IndexRef[], last: number, first: number): IndexPlan {
  const usable = onPath.filter((index) => index.first >= first && index.last <= last);
  const indexes: IndexRef[] = [];
  const layers: number[] = [];
  for (let position = first; position <= last;) {
    let best: IndexRef | null = null;
    for (const index of usable) {
      if (index.first <= position && index.last >= position && (best === null || leadsFurther(index, best))) best = index;
    }
    if (best === null) layers.push(position);
    else indexes.push(best);
    position = (best?.last ?? position) + 1;
  }
  return { indexes, layers };
}

/** Whether the path goes through the manifest at which an index ends; then all its ancestors are the index's too. */
export function liesOn(lineage: Lineage, { branchId, last }: Pick<IndexRef, 'branchId' | 'last'>): boolean {
  return lineage.find((span) => last <= span.last)?.branchId === branchId;
}

/** Of two that lead as far, the one that covers less is smaller; names decide in the end, so that everybody chooses the same. */
function leadsFurther(index: IndexRef, than: IndexRef): boolean {
  if (index.last !== than.last) return index.last > than.last;
  if (index.first !== than.first) return index.first > than.first;
  return index.sha256 < than.sha256;
}
