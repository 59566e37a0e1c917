import { readAhead } from '../view/read-ahead.js';
import { mergePage, type PagePart } from './merge-page.js';
import { GRAINS_PER_PAGE, Page } from './page.js';
import type { PageSource, PageStretch } from './page-source.js';

/** Pages of a disk after the merge: one with its content, or any number that are zero as a whole. */
export interface MergedStretch {
  readonly disk: number;
  readonly first: number;
  readonly count: number;
  readonly page: Page;
}

/** Pages that are merged ahead of the one that is asked for. */
const AHEAD_COUNT = 4;

/** Sources of one path, laid over each other: what the newest says goes first. */
export class PageStack {
  /** Every disk that any source knows, ascending. */
  readonly disks: readonly number[];
  readonly #all: ReadonlySet<PageSource>;

  constructor(
    /** Newest first; together they need not reach down to the root. */
    readonly sources: readonly PageSource[],
  ) {
    this.#all = new Set(sources);
    this.disks = [...new Set(sources.flatMap(({ disks }) => disks))].sort((a, b) => a - b);
  }

  /** The grain behind which a disk reads as zero where no record shows. */
  endOf(disk: number): number {
    return this.sources.reduce((end, source) => Math.min(end, source.endOf(disk)), Number.MAX_SAFE_INTEGER);
  }

  /** 4,096 blocks of a disk, merged. Sources that are not among the speakers are known to say nothing of them, and are not asked. */
  async page(disk: number, page: number, speakers: ReadonlySet<PageSource> = this.#all): Promise<Page> {
    const parts: Promise<PagePart>[] = [];
    for (const source of this.sources) {
      const end = source.endOf(disk) - page * GRAINS_PER_PAGE;
      if (speakers.has(source)) parts.push(source.page(disk, page).then((part) => ({ page: part, end })));
      // It may still hide what is older.
      else if (end < GRAINS_PER_PAGE) parts.push(Promise.resolve({ page: Page.EMPTY, end }));
    }
    return mergePage(await Promise.all(parts));
  }

  /** Everything there is, page by page, ascending by disk. Memory does not grow with the disks. */
  async *all(): AsyncGenerator<MergedStretch> {
    for (const disk of this.disks) yield* this.stretches(disk, 0, Number.MAX_SAFE_INTEGER);
  }

  /** The pages of a disk from `from` on up to, not including, `to` of which anything is said, ascending. `load` may know some already. */
  async *stretches(
    disk: number,
    from: number,
    to: number,
    load: (disk: number, page: number, speakers: ReadonlySet<PageSource>) => Promise<Page> = (...words) => this.page(...words),
  ): AsyncGenerator<MergedStretch> {
    const merged = readAhead(this.#stretches(disk, from, to), AHEAD_COUNT, async ({ first, count, isZero, speakers }) => ({
      disk,
      first,
      count,
      page: isZero ? Page.ZERO : await load(disk, first, speakers),
    }));
    for await (const stretch of merged) if (!stretch.page.isEmpty) yield stretch;
  }

  /** Where anything is said, and by whom. A stretch that is zero in the newest source to speak there is zero in all: what others have is behind it, or zero too. */
  async *#stretches(disk: number, from: number, to: number): AsyncGenerator<PageStretch & { readonly speakers: ReadonlySet<PageSource> }> {
    const upcoming = new Map<PageSource, PageStretch>();
    let speakers: ReadonlySet<PageSource> = this.#all;
    for (let at = from; at < to;) {
      await Promise.all(
        [...speakers].map(async (source) => {
          const stretch = await source.next(disk, at);
          if (stretch === null) upcoming.delete(source);
          else upcoming.set(source, stretch);
        }),
      );
      const speaking = new Set<PageSource>();
      let first = to;
      for (const stretch of upcoming.values()) first = Math.min(first, stretch.first);
      if (first >= to) return;
      let end = to;
      let isZero = true;
      for (const [source, stretch] of upcoming) {
        if (stretch.first > first) end = Math.min(end, stretch.first);
        else {
          end = Math.min(end, stretch.isZero ? stretch.first + stretch.count : first + 1);
          isZero &&= stretch.isZero;
          speaking.add(source);
        }
      }
      yield { first, count: end - first, isZero, speakers: speaking };
      speakers = speaking;
      at = end;
    }
  }
}
