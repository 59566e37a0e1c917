import Table from 'cli-table3';
import { type Cell, cellText, exactTime, paint, relativeTime } from './words.js';

/** One column of a table. */
export type Column<T> = readonly [head: string, of: (item: T, paper: Paper) => Cell];

/** Rows under each other and nothing around them: easy to read, to copy and to grep. */
const EDGES = 'top top-mid top-left top-right bottom bottom-mid bottom-left bottom-right left left-mid mid mid-mid right right-mid';
const BORDERLESS = Object.fromEntries(EDGES.split(' ').map((edge) => [edge, '']));

/** What results are written on: knows the time and whether there are colours. */
export class Paper {
  constructor(
    readonly now: Date,
    readonly hasColour: boolean,
  ) {}

  /** `ifEmpty`: the sentence in place of a table without rows. */
  table<T>(items: readonly T[], columns: readonly Column<T>[], ifEmpty: string): string {
    if (items.length === 0) return ifEmpty;
    const rows = items.map((item) => columns.map(([, of]) => cellText(of(item, this), this.hasColour)));
    return this.#lines([columns.map(([head]) => paint(head, 'strong', this.hasColour)), ...rows]);
  }

  /** Names and values of one thing. Those that are undefined are left out. */
  facts(facts: readonly (readonly [name: string, value: Cell | undefined])[]): string {
    const rows = facts.flatMap(([name, value]) =>
      value === undefined ? [] : [[paint(name, 'quiet', this.hasColour), cellText(value, this.hasColour)]],
    );
    return this.#lines(rows);
  }

  ago(instant: string | null): Cell {
    const text = relativeTime(instant, this.now);
    return instant === null ? { text, tone: 'quiet' } : text;
  }

  /** The instant itself, and how long ago that is. */
  at(instant: string | null): Cell {
    return instant === null ? this.ago(null) : `${exactTime(instant)}, ${relativeTime(instant, this.now)}`;
  }

  #lines(rows: readonly string[][]): string {
    const table = new Table({
      chars: { ...BORDERLESS, middle: '  ' },
      style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    });
    table.push(...rows);
    return table
      .toString()
      .split('\n')
      .map((line) => line.trimEnd())
      .join('\n');
  }
}
