import type { Page } from './page.js';

/** Past every disk. */
export const GRAINS_END = Number.MAX_SAFE_INTEGER;

/** Neighbouring pages of a disk of which a source says something: one that has to be looked at, or any number that are zero as a whole. */
export interface PageStretch {
  readonly first: number;
  readonly count: number;
  readonly isZero: boolean;
}

/**
 * Some neighbouring layers of a path, as one: a single layer by the footers of its segments, or many by an index.
 *
 * A grain that a record of its page shows is that record's; else, in the page's zeros or behind {@link endOf}, it is zero; else only what is older can
 * tell. Sources need no key. They answer concurrent calls, and forget nothing they would have to keep: what they hold does not grow with the disk.
 */
export abstract class PageSource {
  /** Of the newest and the oldest layer. */
  abstract readonly last: number;
  abstract readonly first: number;

  /** Ascending; the firmware's comes last. Disks beside these hold nothing. */
  abstract readonly disks: readonly number[];

  /** The first grain behind which all that is older reads as zero, on any disk: the smallest end that the disk had. 0 for one that a layer lacks. */
  abstract endOf(disk: number): number;

  /** The next stretch at or behind a page, cut so that it begins there; null when nothing follows. */
  abstract next(disk: number, page: number): Promise<PageStretch | null>;

  /** What it says about 4,096 blocks. */
  abstract page(disk: number, page: number): Promise<Page>;
}
