import { KIB } from '#libs/kernel';
import type { IndexRef } from './index-ref.js';
import { coverPositions, liesOn, planIndexes, type Lineage } from './plan-indexes.js';

/** Positions of a path, both covered. From the root on it is a checkpoint, else a run. */
export interface IndexRange {
  readonly first: number;
  readonly last: number;
}

/** A path, and the positions on it that must open at once: its kept points and its head. */
export interface KeptPath {
  readonly lineage: Lineage;
  /** Ascending. */
  readonly kept: readonly number[];
}

/** Runs smaller than this together are no reason to write a checkpoint. Larger ones cost who opens a point more than it costs to write one. */
const RUNS_BYTES_MIN = 64 * KIB;
/** Sources that one build merges; what has more is built in steps. */
const SOURCES_MAX = 64;

/**
 * What is to be built so that every kept position of a path is read from a checkpoint and few runs alone; in this order, since the later ones are made from
 * the earlier. The runs behind a checkpoint are like the digits of a binary number that counts its layers: each layer enters at most one run of every
 * length, so its index is rewritten a logarithm's times at most, and no position needs more than one of every length. Where the runs up to the head have
 * grown past half the size of their checkpoint, the next one is due.
 */
export function missingIndexes(available: readonly IndexRef[], { lineage, kept }: KeptPath): IndexRange[] {
  const onPath = available.filter((index) => liesOn(lineage, index));
  const missing = new Map<string, IndexRange>();
  const has = ({ first, last }: IndexRange): boolean =>
    missing.has(nameOf(first, last)) || onPath.some((index) => index.first === first && index.last === last);
  const need = (range: IndexRange): void => {
    if (has(range)) return;
    const { first, last } = range;
    const { indexes, layers } = coverPositions(onPath, last, first);
    if (indexes.length + layers.length > SOURCES_MAX) for (const part of partsOf(range)) need(part);
    missing.set(nameOf(first, last), range);
  };
  for (const position of kept) {
    const runs = dyadicRanges(baseOf(onPath, position) + 1, position);
    const { indexes, layers } = coverPositions(onPath, position, 0);
    if (layers.length > 0 || indexes.length > runs.length + 1) runs.forEach(need);
  }
  const due = dueCheckpoint(onPath, kept.at(-1) ?? -1);
  if (due !== null) need(due);
  return [...missing.values()].sort((a, b) => a.last - a.first - (b.last - b.first) || a.first - b.first);
}

/** Those that no kept position of any path is read from; nothing is lost with them but the time to build them again. */
export function unneededIndexes(available: readonly IndexRef[], paths: readonly KeptPath[]): IndexRef[] {
  const needed = new Set(
    paths.flatMap(({ lineage, kept }) => kept.flatMap((position) => planIndexes(available, lineage, position).indexes)),
  );
  return available.filter((index) => !needed.has(index));
}

/** Cuts a stretch of positions into ranges whose lengths are the powers of two that its own is the sum of, the longest first. */
export function dyadicRanges(first: number, last: number): IndexRange[] {
  const ranges: IndexRange[] = [];
  for (let at = first; at <= last;) {
    const length = 2 ** Math.floor(Math.log2(last - at + 1));
    ranges.push({ first: at, last: at + length - 1 });
    at += length;
  }
  return ranges;
}

/** Where the newest checkpoint at or before a position ends; -1 without one. */
function baseOf(onPath: readonly IndexRef[], position: number): number {
  return onPath.reduce((base, { first, last }) => (first === 0 && last <= position ? Math.max(base, last) : base), -1);
}

function dueCheckpoint(onPath: readonly IndexRef[], head: number): IndexRange | null {
  const [base, ...runs] = coverPositions(onPath, head, 0).indexes;
  if (base === undefined || base.first !== 0) return null;
  const runBytes = runs.reduce((sum, { bytes }) => sum + bytes, 0);
  if (runBytes <= Math.max(base.bytes / 2, RUNS_BYTES_MIN)) return null;
  const longest = dyadicRanges(base.last + 1, head).reduce((best, range) =>
    range.last - range.first > best.last - best.first ? range : best,
  );
  return { first: 0, last: longest.last };
}

/** A run in halves, a checkpoint in the runs that its layers make. */
function partsOf({ first, last }: IndexRange): IndexRange[] {
  const ranges = dyadicRanges(first, last);
  return ranges.length > 1 ? ranges : [...dyadicRanges(first, (first + last - 1) / 2), ...dyadicRanges((first + last + 1) / 2, last)];
}

function nameOf(first: number, last: number): string {
  return `${first}-${last}`;
}
