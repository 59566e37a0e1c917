import { Page, PageBuilder } from '../indexes/page.js';
import { PageSource, type PageStretch } from '../indexes/page-source.js';

/** Where records of dissolved segments are now: by old segment, then by the offset there. A record of one that is not told is dead. */
export type Moves = ReadonlyMap<string, ReadonlyMap<number, MovedRecord>>;

export interface MovedRecord {
  readonly segment: string;
  readonly offset: number;
  /** As it is there: one that was sealed anew may have another. */
  readonly length: number;
}

/**
 * Some layers as they were before a move, told as they are after it. A dead record is left out, and with it what its page says of those grains: an older
 * source may speak up there, but nobody reads a position at which the dead record is not shadowed.
 */
export class MovedSource extends PageSource {
  constructor(
    private readonly inner: PageSource,
    private readonly moves: Moves,
  ) {
    super();
  }

  get first(): number {
    return this.inner.first;
  }

  get last(): number {
    return this.inner.last;
  }

  get disks(): readonly number[] {
    return this.inner.disks;
  }

  endOf(disk: number): number {
    return this.inner.endOf(disk);
  }

  next(disk: number, page: number): Promise<PageStretch | null> {
    return this.inner.next(disk, page);
  }

  async page(disk: number, page: number): Promise<Page> {
    const before = await this.inner.page(disk, page);
    if (!before.segmentNames.some((segment) => this.moves.has(segment))) return before;
    const builder = new PageBuilder(Math.max(1, before.count));
    for (let index = 0; index < before.count; index += 1) {
      const { segment, offset, length, visible, position } = before.place(index);
      const moved = this.moves.get(segment);
      const place = moved === undefined ? { segment, offset, length } : moved.get(offset);
      if (place !== undefined)
        builder.add(before.slots[index]!, builder.handleOf(place.segment), place.offset, place.length, visible, position);
    }
    return builder.build(before.zeros);
  }
}
