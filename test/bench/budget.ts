import type { Bench } from './bench.js';

/** How a line's ratio is taken, and from where on it is good enough. */
export interface Goal {
  readonly unit: Unit;
  readonly text: string;
  /** The figure that is held against the bound: a ratio, or ours itself where there is nothing to compare with. */
  figure(ours: number, theirs: number | null): number;
  isMet(figure: number): boolean;
}

export type Unit = 's' | 'ms' | 'MB' | 'op/s' | 'reads' | 'MiB';

/** One line of a budget: what ours is set beside, and the goal. */
export interface Line {
  /** What is told apart from the budget's other lines; empty where the peer says it all. */
  readonly what?: string;
  /** The peer; null where ours alone counts. */
  readonly against: string | null;
  readonly goal: Goal;
}

export interface Measure {
  readonly ours: number;
  readonly theirs: number | null;
  /** What a reader of the figure must know. */
  readonly note?: string;
}

/** A line that cannot be measured here says why. */
export type Outcome = Measure | { readonly unmeasured: string };

export interface Budget<Name extends string = string> {
  readonly id: string;
  readonly what: string;
  readonly lines: Readonly<Record<Name, Line>>;
  /** Both sides in the same run, taking turns. A name that is left out was not measured. */
  run(bench: Bench): Promise<Record<Name, Outcome>>;
}

/** Keeps the names of the lines and of the outcomes the same. */
export function budget<Name extends string>(declared: Budget<Name>): Budget<Name> {
  return declared;
}

/** Ours is at most this share of theirs. */
export function atMostShare(unit: Unit, bound: number): Goal {
  return { unit, text: `≤ ${bound}`, figure: (ours, theirs) => ours / theirs!, isMet: (ratio) => ratio <= bound };
}

/** Theirs takes at least this many times as long. */
export function timesFaster(unit: 's' | 'ms', bound: number): Goal {
  return { unit, text: `≥ ${bound} ×`, figure: (ours, theirs) => theirs! / ours, isMet: (ratio) => ratio >= bound };
}

/** Ours does at least this many times as much. */
export function timesAsMuch(unit: 'op/s', bound: number): Goal {
  return { unit, text: `≥ ${bound} ×`, figure: (ours, theirs) => ours / theirs!, isMet: (ratio) => ratio >= bound };
}

/** Ours alone, with nothing beside it. */
export function atMost(unit: Unit, bound: number): Goal {
  return { unit, text: `≤ ${bound} ${unit}`, figure: (ours) => ours, isMet: (figure) => figure <= bound };
}

/** Told, not judged. */
export function told(unit: Unit): Goal {
  return { unit, text: '–', figure: (ours, theirs) => (theirs === null ? ours : ours / theirs), isMet: () => true };
}
